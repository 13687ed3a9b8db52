//! Reads server-sent events out of a stream of bytes, however it is cut.

/// One event of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// What it is; `message` when the server names nothing.
    pub(super) kind: String,
    /// Its data, lines joined.
    pub(super) data: String,
}

/// The stream as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// The bytes of a line that has not ended.
    line: Vec<u8>,
    /// The last line ended with a carriage return, whose line feed may be yet to come.
    after_return: bool,
    kind: String,
    data: Option<String>,
    bytes: usize,
}

/// A message grew beyond [`MESSAGE_BYTES_MAX`].
#[derive(Debug, thiserror::Error)]
#[error("read event stream: a message has more than {MESSAGE_BYTES_MAX} bytes")]
pub(super) struct TooLong;

/// The longest message: an event of the largest size, escaped, with all that is told about it.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 << 20;

impl Parser {
    /// Takes what arrived, and gives the messages that it completed.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut messages = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' if self.after_return => {}
                b'\n' | b'\r' => messages.extend(self.end_line()),
                _ => {
                    self.bytes += 1;
                    if self.bytes > MESSAGE_BYTES_MAX {
                        return Err(TooLong);
                    }
                    self.line.push(byte);
                }
            }
            self.after_return = byte == b'\r';
        }
        Ok(messages)
    }

    fn end_line(&mut self) -> Option<Message> {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        if line.is_empty() {
            self.bytes = 0;
            let kind = std::mem::take(&mut self.kind);
            let data = self.data.take()?;
            return Some(Message { kind: if kind.is_empty() { "message".into() } else { kind }, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => match &mut self.data {
                Some(data) => data.extend(["\n", value]),
                None => self.data = Some(value.to_owned()),
            },
            // Comments keep the connection alive; ids and retry times are not ours to use.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stream: &str, expected: &[(&str, &str)]) {
        let expected: Vec<Message> =
            expected.iter().map(|(kind, data)| Message { kind: (*kind).into(), data: (*data).into() }).collect();
        for cut in 1..=stream.len() {
            let mut parser = Parser::default();
            let read: Vec<Message> =
                stream.as_bytes().chunks(cut).flat_map(|part| parser.feed(part).unwrap()).collect();
            assert_eq!(read, expected, "in pieces of {cut}: {stream:?}");
        }
    }

    #[test]
    fn messages_are_read_however_they_are_cut() {
        check("data: {\"a\":1}\n\n", &[("message", "{\"a\":1}")]);
        check(": alive\n\nevent: lagged\ndata:5\nid: 3\n\n", &[("lagged", "5")]);
        check("data: a\r\ndata:  b\r\n\r\ndata\n\n", &[("message", "a\n b"), ("message", "")]);
        check("event: x\n\ndata: ü\rretry: 5\r\rdata: unfinished\n", &[("message", "ü")]);
        check("", &[]);
    }

    #[test]
    fn endless_messages_are_refused() {
        let mut parser = Parser::default();
        let part = vec![b'a'; MESSAGE_BYTES_MAX];
        assert!(parser.feed(&part).is_ok());
        assert!(parser.feed(b"a").is_err());
    }
}
