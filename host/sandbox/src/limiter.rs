//! Memory and tables of one call, all of its instances together.

use wasmtime::ResourceLimiter;

use crate::fault::Stop;
use crate::settings::TABLE_ELEMENTS_MAX;

/// Sums what the instances of one store hold. Growth beyond the limit stops the guest, so that the error says where.
pub(crate) struct Limiter {
    memory: Sum,
    tables: Sum,
}

struct Sum {
    held: usize,
    held_max: usize,
    /// What was granted last; taken back when the growth fails after all.
    granted: usize,
}

impl Limiter {
    pub(crate) fn new(memory_bytes_max: usize) -> Self {
        let sum = |held_max| Sum { held: 0, held_max, granted: 0 };
        Self { memory: sum(memory_bytes_max), tables: sum(TABLE_ELEMENTS_MAX) }
    }

    /// All linear memories together.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory.held
    }
}

impl Sum {
    /// Whether the growth is granted; an error when it is beyond the limit.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>, over: Stop) -> wasmtime::Result<bool> {
        self.granted = 0;
        if maximum.is_some_and(|maximum| desired > maximum && maximum < self.held_max) {
            // Its own declaration forbids it: the guest is told, as WebAssembly has it.
            return Ok(false);
        }
        let more = desired.saturating_sub(current);
        if more > self.held_max - self.held {
            return Err(over.into());
        }
        self.held += more;
        self.granted = more;
        Ok(true)
    }

    fn take_back(&mut self) {
        self.held -= self.granted;
        self.granted = 0;
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.memory.grow(current, desired, maximum, Stop::Memory)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.take_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.tables.grow(current, desired, maximum, Stop::Tables)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.tables.take_back();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_summed() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, Some(100)).unwrap());
        let err = limiter.memory_growing(60, 61, None).unwrap_err();
        assert!(matches!(err.downcast_ref(), Some(Stop::Memory)), "{err}");
    }

    #[test]
    fn failed_growth_is_taken_back_once() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("full")).unwrap();
        limiter.memory_grow_failed(wasmtime::Error::msg("full")).unwrap();
        assert!(limiter.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn a_declared_maximum_is_the_guests_own() {
        let mut limiter = Limiter::new(100);
        assert!(!limiter.memory_growing(0, 60, Some(50)).unwrap());
    }
}
