//! Standard error, where a language's panic or traceback goes: its beginning and its end are kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::settings::STDERR_HALF_BYTES_MAX;
use crate::text;

/// What is written at a time; more has to come in pieces.
const PERMIT_BYTES: usize = 64 << 10;

/// Standard error of one guest.
#[derive(Clone, Default)]
pub(crate) struct Stderr(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    n_left_out: usize,
}

impl Stderr {
    /// What is kept, with control characters escaped but for line breaks and tabs.
    pub(crate) fn text(&self) -> String {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        // Escapes make the text longer, at most six times; the halves bound it.
        let mut push = |bytes: &[u8]| {
            text::escape_into(&mut out, &String::from_utf8_lossy(bytes), &['\n', '\t'], usize::MAX);
        };
        push(&kept.head);
        if kept.n_left_out > 0 {
            push(format!("\n… {} bytes left out …\n", kept.n_left_out).as_bytes());
        }
        push(kept.tail.make_contiguous());
        out
    }

    /// Forgets what was written; handles of the guest stay good.
    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }

    fn write(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = STDERR_HALF_BYTES_MAX - kept.head.len();
        let (head, tail) = bytes.split_at(room.min(bytes.len()));
        kept.head.extend_from_slice(head);
        let skipped = tail.len().saturating_sub(STDERR_HALF_BYTES_MAX);
        kept.tail.extend(&tail[skipped..]);
        let over = kept.tail.len().saturating_sub(STDERR_HALF_BYTES_MAX);
        kept.tail.drain(..over);
        kept.n_left_out = kept.n_left_out.saturating_add(skipped + over);
    }
}

impl IsTerminal for Stderr {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stderr {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    /// Of WASI 0.3, which is not linked; what came here would be lost.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::empty())
    }
}

impl OutputStream for Stderr {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        Self::write(self, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT_BYTES)
    }
}

#[async_trait::async_trait]
impl Pollable for Stderr {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], expected: &str) {
        let stderr = Stderr::default();
        for piece in pieces {
            stderr.write(piece.as_bytes());
        }
        assert_eq!(stderr.text(), expected);
    }

    #[test]
    fn little_is_kept_whole() {
        check(&["panicked at\tx\n", "\u{1b}[0m"], "panicked at\tx\n\\u{1b}[0m");
        let whole = "y".repeat(2 * STDERR_HALF_BYTES_MAX);
        check(&[&whole], &whole);
    }

    #[test]
    fn of_much_the_ends_are_kept() {
        let half = STDERR_HALF_BYTES_MAX;
        let (a, b) = ("a".repeat(half + 1), "b".repeat(half));
        check(&[&a, &b], &format!("{}\n… 1 bytes left out …\n{b}", "a".repeat(half)));
        check(&[&a, &b, &b, "c"], &format!("{}\n… {} bytes left out …\n{}c", "a".repeat(half), half + 2, &b[1..]));
    }
}
