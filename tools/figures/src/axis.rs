//! Axes: what is shown from where to where, and at which values a label helps.

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps, equal distances.
    #[default]
    Linear,
    /// Equal ratios, equal distances. A zero gets a place of its own before the least value.
    Log,
}

/// What an axis shows.
#[derive(Clone, Debug, Default)]
pub struct Axis {
    /// What is measured.
    pub label: String,
    /// Its unit; may be empty.
    pub unit: String,
    /// How values are spread.
    pub scale: Scale,
    /// The least value to show; the data decides when absent.
    pub from: Option<f64>,
    /// The greatest value to show; the data decides when absent.
    pub to: Option<f64>,
}

impl Axis {
    /// A linear axis whose ends the data decides.
    pub fn new(label: impl Into<String>, unit: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            unit: unit.into(),
            ..Self::default()
        }
    }

    /// Makes it a logarithmic axis.
    pub fn log(mut self) -> Self {
        self.scale = Scale::Log;
        self
    }

    /// The least value to show.
    pub fn from(mut self, value: f64) -> Self {
        self.from = Some(value);
        self
    }

    /// The greatest value to show.
    pub fn to(mut self, value: f64) -> Self {
        self.to = Some(value);
        self
    }

    /// Label and unit as one text.
    pub fn title(&self) -> String {
        match (self.label.is_empty(), self.unit.is_empty()) {
            (_, true) => self.label.clone(),
            (true, false) => self.unit.clone(),
            (false, false) => format!("{} ({})", self.label, self.unit),
        }
    }
}

/// Values beyond are taken for no values: their differences have no number.
const MAX: f64 = 1e100;

/// Values that differ by less than this share of themselves are shown as one.
const SAME: f64 = 1e-3;

/// How an axis lies on the paper: a value's place, and the labels.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    scale: Scale,
    /// The ends, after the logarithm if there is one.
    low: f64,
    high: f64,
    /// Where zero stands on a logarithmic axis.
    zero: Option<f64>,
    /// Their places on the paper.
    start: f64,
    end: f64,
    /// Whether there was nothing to place.
    pub(crate) is_empty: bool,
    /// Value and text of each label.
    pub(crate) ticks: Vec<(f64, String)>,
}

/// Whether an axis ends at the data or at the next label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    Data,
    Labels,
}

impl Placement {
    /// Places `axis` from `start` to `end` on the paper so that `values` fit, with about one label
    /// per `spacing` pixels. What is not finite is left out of account.
    pub(crate) fn new(
        axis: &Axis,
        values: impl Iterator<Item = f64>,
        (start, end): (f64, f64),
        spacing: f64,
        fit: Fit,
    ) -> Self {
        let (mut zero, mut is_empty) = (false, true);
        let values = values
            .filter(|value| value.abs() <= MAX)
            .inspect(|_| is_empty = false)
            .chain(axis.from)
            .chain(axis.to);
        let usable = values.filter(|value| match axis.scale {
            Scale::Linear => true,
            Scale::Log => {
                zero |= *value == 0.0;
                *value > 0.0
            }
        });
        let extent = usable.fold(None, |extent: Option<(f64, f64)>, value| {
            extent.map_or(Some((value, value)), |(low, high)| {
                Some((low.min(value), high.max(value)))
            })
        });
        let labels = ((end - start).abs() / spacing).max(2.0);
        let mut placement = match axis.scale {
            Scale::Linear => linear(axis, extent.unwrap_or((0.0, 1.0)), labels, fit),
            Scale::Log => logarithmic(axis, extent.unwrap_or((1.0, 10.0)), labels, zero),
        };
        (placement.start, placement.end) = (start, end);
        placement.is_empty = is_empty;
        placement
    }

    /// Where `value` stands; what lies outside stands at the near end. `None` for what is not
    /// finite or has no logarithm.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        let position = match self.scale {
            Scale::Linear => value,
            Scale::Log if value == 0.0 => self.zero?,
            Scale::Log if value < 0.0 => return None,
            Scale::Log => value.log10(),
        };
        let share = (position.clamp(self.low, self.high) - self.low) / (self.high - self.low);
        share
            .is_finite()
            .then_some(self.start + share * (self.end - self.start))
    }

    /// Whether `value` lies between the ends.
    pub(crate) fn shows(&self, value: f64) -> bool {
        match self.scale {
            Scale::Linear => (self.low..=self.high).contains(&value),
            Scale::Log if value == 0.0 => self.zero.is_some(),
            Scale::Log => value > 0.0 && (self.low..=self.high).contains(&value.log10()),
        }
    }
}

fn linear(axis: &Axis, (mut low, mut high): (f64, f64), labels: f64, fit: Fit) -> Placement {
    // A flow's figures read best from zero, unless they fill a narrow band far above it.
    if fit == Fit::Labels && low > 0.0 && low < 0.7 * high {
        low = 0.0;
    }
    (low, high) = (axis.from.unwrap_or(low), axis.to.unwrap_or(high));
    if high - low <= SAME * high.abs().max(low.abs()) {
        (low, high) = if low > 0.0 {
            (0.0, 2.0 * low)
        } else {
            (low, low + 1.0)
        };
    }
    let step = step(high - low, labels);
    if fit == Fit::Labels {
        low = axis.from.unwrap_or((low / step + 1e-9).floor() * step);
        high = axis.to.unwrap_or((high / step - 1e-9).ceil() * step);
    }
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    let ticks = (first..=last)
        .map(|n| n as f64 * step)
        .map(|value| (value, number(value, step)))
        .collect();
    Placement {
        scale: Scale::Linear,
        low,
        high,
        zero: None,
        is_empty: false,
        start: 0.0,
        end: 1.0,
        ticks,
    }
}

fn logarithmic(axis: &Axis, (low, high): (f64, f64), labels: f64, zero: bool) -> Placement {
    let from = axis.from.filter(|value| *value > 0.0).unwrap_or(low);
    let to = axis.to.filter(|value| *value > 0.0).unwrap_or(high);
    let (mut low, mut high) = (from.log10(), to.log10());
    // At least half a decade, so that one value stands in the middle of something.
    let pad = ((0.5 - (high - low)) / 2.0).max(0.0);
    (low, high) = (low - pad, high + pad);
    let mut ticks = log_ticks(low, high, labels);
    let zero = zero.then(|| {
        let place = low - ((high - low) * 0.12).max(0.3);
        ticks.retain(|(value, _)| value.log10() >= low - 1e-9);
        ticks.insert(0, (0.0, "0".to_owned()));
        low = place;
        place
    });
    Placement {
        scale: Scale::Log,
        low,
        high,
        zero,
        is_empty: false,
        start: 0.0,
        end: 1.0,
        ticks,
    }
}

/// Labels at 1, 2 and 5 of each decade, or at decades only, or at some of them.
fn log_ticks(low: f64, high: f64, labels: f64) -> Vec<(f64, String)> {
    let decades = high - low;
    let digits: &[f64] = if decades * 3.0 <= labels.max(4.0) {
        &[1.0, 2.0, 5.0]
    } else {
        &[1.0]
    };
    let stride = (decades / labels).ceil().max(1.0) as usize;
    (low.floor() as i32..=high.ceil() as i32)
        .step_by(stride)
        .flat_map(|decade| digits.iter().map(move |digit| digit * 10f64.powi(decade)))
        .filter(|value| (low - 1e-9..=high + 1e-9).contains(&value.log10()))
        .map(|value| (value, number(value, value)))
        .collect()
}

/// 1, 2 or 5 times a power of ten, so that about `labels` steps make `span`.
fn step(span: f64, labels: f64) -> f64 {
    let raw = span / labels;
    let power = 10f64.powf(raw.log10().floor());
    let digit = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|n| n * power >= raw * 0.999);
    digit.unwrap_or(10.0) * power
}

/// `value` with the digits that steps of `step` need.
pub(crate) fn number(value: f64, step: f64) -> String {
    if value == 0.0 && step >= 1.0 {
        return "0".to_owned();
    }
    let magnitude = step.abs().log10();
    if step >= 1e6 {
        return format!("{} M", trimmed(value / 1e6, 1));
    }
    if step >= 1e4 {
        return format!("{} k", trimmed(value / 1e3, 0));
    }
    let decimals = if magnitude < 0.0 {
        (-magnitude - 1e-9).ceil() as usize
    } else {
        0
    };
    if decimals > 6 {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.decimals$}");
    // No minus before a zero that is only rounding.
    if text.trim_start_matches(['-', '0', '.']).is_empty() {
        return text.trim_start_matches('-').to_owned();
    }
    text.replace('-', "\u{2212}")
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
