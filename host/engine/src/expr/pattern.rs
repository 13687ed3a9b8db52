//! A pattern of `matches`, compiled once, and sought in a time that is known beforehand.
//!
//! An automaton that is built as it runs takes about a nanosecond a byte, but some patterns (`a(a|b){100}c`) make it grow
//! with every byte. It gives up then, and what is left is a simulation whose price is the text times the pattern:
//! seconds for one event. That is paid for in steps before it is begun.

use std::fmt;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchKind};

use super::meter::Meter;

/// The most bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 256 << 10;
/// The most bytes that a running automaton keeps of itself.
const CACHE_BYTES_MAX: usize = 1 << 20;
/// How often the automaton may outgrow that in one text before it is asked whether it gets anywhere.
const CACHE_CLEARS_MIN: usize = 3;
/// With fewer bytes read for each state that it builds it gets nowhere.
const BYTES_PER_STATE_MIN: usize = 10;
/// How much of a text the automaton reads for one step.
const FAST_BYTES_PER_STEP: usize = 16;
/// How many states of the pattern the simulation follows for one step.
const SLOW_STATES_PER_STEP: usize = 4;

pub(super) struct Pattern {
    fast: DFA,
    slow: PikeVM,
    caches: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync>>,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pattern").field("n_states", &self.n_states()).finish_non_exhaustive()
    }
}

impl Pattern {
    pub(super) fn compile(source: &str) -> Result<Self, String> {
        let nfa = thompson::NFA::compiler()
            .configure(thompson::Config::new().nfa_size_limit(Some(PATTERN_BYTES_MAX)).shrink(false))
            .build(source)
            .map_err(|err| describe(&err))?;
        let config = DFA::config()
            .match_kind(MatchKind::LeftmostFirst)
            .cache_capacity(CACHE_BYTES_MAX)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(CACHE_CLEARS_MIN))
            .minimum_bytes_per_state(Some(BYTES_PER_STATE_MIN))
            .unicode_word_boundary(true);
        let fast = DFA::builder().configure(config).build_from_nfa(nfa.clone()).map_err(|err| describe(&err))?;
        let slow = PikeVM::new_from_nfa(nfa).map_err(|err| describe(&err))?;
        let maker = fast.clone();
        let caches: Pool<_, Box<dyn Fn() -> Cache + Send + Sync>> = Pool::new(Box::new(move || maker.create_cache()));
        Ok(Self { fast, slow, caches })
    }

    /// Whether the pattern is somewhere in the text; none where too few steps are left to tell.
    pub(super) fn is_in(&self, text: &str, meter: &Meter) -> Option<bool> {
        if !meter.spend(1 + text.len() / FAST_BYTES_PER_STEP) {
            return None;
        }
        let input = Input::new(text).anchored(Anchored::No).earliest(true);
        let found = self.fast.try_search_fwd(&mut self.caches.get(), &input);
        if let Ok(found) = found {
            return Some(found.is_some());
        }
        if !meter.spend(text.len().saturating_mul(self.n_states()) / SLOW_STATES_PER_STEP) {
            return None;
        }
        // Rare, and dear beside what it costs to make this cache.
        let mut cache = pikevm::Cache::new(&self.slow);
        Some(self.slow.is_match(&mut cache, input))
    }

    fn n_states(&self) -> usize {
        self.fast.get_nfa().states().len()
    }
}

/// What is wrong with a pattern: the last error of the chain says it best.
fn describe(err: &dyn std::error::Error) -> String {
    let mut last = err;
    while let Some(source) = last.source() {
        last = source;
    }
    format!("the pattern of `matches`: {last}")
}
