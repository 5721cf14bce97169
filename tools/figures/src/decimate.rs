//! Long lines are thinned to what the eye can tell apart.

/// Keeps of each column of `width` pixels the first, the least, the greatest and the last point, in
/// their order, and of a level stretch its ends. Points are places on the paper, from left to
/// right.
pub(crate) fn decimate(points: &[(f64, f64)], width: f64) -> Vec<(f64, f64)> {
    let column = |point: &(f64, f64)| (point.0 / width).floor() as i64;
    let kept: Vec<_> = points
        .chunk_by(|a, b| column(a) == column(b))
        .flat_map(extremes)
        .collect();
    let level = |a: f64, b: f64| (a - b).abs() < 0.05;
    let is_needed = |index: usize| {
        let (Some(before), Some(after)) = (
            index.checked_sub(1).and_then(|before| kept.get(before)),
            kept.get(index + 1),
        ) else {
            return true;
        };
        !(level(kept[index].1, before.1) && level(kept[index].1, after.1))
    };
    (0..kept.len())
        .filter(|index| is_needed(*index))
        .map(|index| kept[index])
        .collect()
}

/// Joins upright bars that lie in one column of `width` pixels and touch, or nearly so; `bars` are
/// (place, upper end, lower end), from left to right.
pub(crate) fn merge(mut bars: Vec<(f64, f64, f64)>, width: f64) -> Vec<(f64, f64, f64)> {
    let column = |bar: &(f64, f64, f64)| (bar.0 / width).floor() as i64;
    let mut merged: Vec<(f64, f64, f64)> = Vec::new();
    for bars in bars.chunk_by_mut(|a, b| column(a) == column(b)) {
        bars.sort_by(|a, b| a.1.total_cmp(&b.1));
        let first = merged.len();
        for &(x, upper, lower) in bars.iter() {
            match merged[first..].last_mut() {
                Some((_, _, end)) if upper <= *end + TOUCHING => *end = end.max(lower),
                _ => merged.push((x, upper, lower)),
            }
        }
    }
    merged
}

/// Bars that are no farther apart than this, in pixels, look like one.
const TOUCHING: f64 = 0.5;

fn extremes(column: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let by_height = |a: &usize, b: &usize| column[*a].1.total_cmp(&column[*b].1);
    let mut kept = vec![
        0,
        (0..column.len()).min_by(by_height).unwrap_or(0),
        (0..column.len()).max_by(by_height).unwrap_or(0),
        column.len() - 1,
    ];
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().map(|index| column[index]).collect()
}
