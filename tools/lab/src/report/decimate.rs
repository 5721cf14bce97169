//! Long lines are thinned to what the eye can tell apart.

/// Keeps of each column of `width` pixels the first, the least, the greatest and the last point, in
/// their order, and of a level stretch its ends. Points are places on the paper, from left to
/// right.
pub(super) fn decimate(points: &[(f64, f64)], width: f64) -> Vec<(f64, f64)> {
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
