//! What an evaluation has spent, and the two things that would otherwise spend without end: patterns and loops.
//!
//! CEL has no bound of its own at run time. A list is short and so is the expression, but their product is not: each of
//! ten thousand items can have a long text searched, or another list copied. So whatever grows with the event is paid
//! for in steps before it is done, and an evaluation that has spent its steps is an error.

use std::sync::atomic::{AtomicU64, Ordering};

use cel::ExecutionError;
use cel::common::traits::Container;
use cel::common::types::{CelString, Type};
use cel::common::value::{CowVal, Val};

use super::pattern::Pattern;

/// The most steps of one evaluation. A step is about as much as one node of the expression costs, 20 to 100 ns.
pub const STEPS_MAX: u64 = 1_000_000;
/// How much of a text is lent for one step: an expression may copy or search it.
const TEXT_BYTES_PER_STEP: usize = 16;

/// What is left of an evaluation's steps. Values of CEL have to be `Sync`, and so an atomic; only one thread uses it.
#[derive(Debug)]
pub(super) struct Meter(AtomicU64);

impl Meter {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(STEPS_MAX))
    }

    /// Spends steps; false once there are no more.
    pub(super) fn spend(&self, n_steps: usize) -> bool {
        let left = self.0.load(Ordering::Relaxed).saturating_sub(n_steps as u64);
        self.0.store(left, Ordering::Relaxed);
        left > 0
    }

    /// Spends what it costs to hand out a text.
    pub(super) fn spend_text(&self, text: &str) -> bool {
        self.spend(1 + text.len() / TEXT_BYTES_PER_STEP)
    }

    /// Whether an answer is worthless, because values were withheld on the way to it.
    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

fn spent(what: &str) -> ExecutionError {
    ExecutionError::function_error(what, "the evaluation has spent its steps")
}

/// A pattern of `matches`. As a container it has the texts that it matches, so that `text.matches('p')` can be
/// evaluated as `text in p`: functions of CEL are told values only, and this one has a compiled pattern to bring.
#[derive(Clone, Copy, Debug)]
pub(super) struct PatternVal<'a> {
    pub(super) pattern: &'a Pattern,
    pub(super) meter: &'a Meter,
}

static PATTERN: Type = Type::new_unspecified_type("pattern");

impl Container for PatternVal<'_> {
    fn contains(&self, text: &dyn Val) -> Result<bool, ExecutionError> {
        let Some(text) = text.downcast_ref::<CelString<'_>>().map(CelString::inner) else {
            let name = text.get_type().name();
            return Err(ExecutionError::function_error(
                "matches",
                format!("no such overload: a text is wanted, not {name}"),
            ));
        };
        self.pattern.is_in(text, self.meter).ok_or_else(|| spent("matches"))
    }
}

impl Val for PatternVal<'_> {
    fn get_type(&self) -> &Type {
        &PATTERN
    }

    fn cel_type() -> &'static Type {
        &PATTERN
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
    where
        Self: 'w,
    {
        Box::new(*self)
    }
}

/// The price of a loop. As a container it has every range that can be paid for; see [`walk`].
#[derive(Clone, Copy, Debug)]
pub(super) struct TollVal<'a> {
    /// How many nodes of the expression are evaluated for each item.
    pub(super) n_nodes: usize,
    pub(super) meter: &'a Meter,
}

static TOLL: Type = Type::new_unspecified_type("toll");

impl Container for TollVal<'_> {
    fn contains(&self, range: &dyn Val) -> Result<bool, ExecutionError> {
        // What has no size cannot be walked either, and CEL says so better.
        let n_items = range.as_sizer().map_or(0, |sizer| *sizer.size().inner());
        let n_steps = usize::try_from(n_items).unwrap_or(0).saturating_mul(self.n_nodes);
        if self.meter.spend(n_steps) { Ok(true) } else { Err(spent("comprehension")) }
    }
}

impl Val for TollVal<'_> {
    fn get_type(&self) -> &Type {
        &TOLL
    }

    fn cel_type() -> &'static Type {
        &TOLL
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
    where
        Self: 'w,
    {
        Box::new(*self)
    }
}

/// The function that stands around the range of every loop: the range, once it is paid for.
pub(super) fn walk<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let toll = args.pop();
    if let (Some(toll), Some(range)) = (toll.as_ref().and_then(|toll| toll.as_container()), args.last()) {
        toll.contains(range.as_ref())?;
    }
    args.pop().ok_or_else(|| spent("comprehension"))
}
