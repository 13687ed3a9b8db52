//! A CloudEvent in JSON, its values still as they were sent.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use trapjaw_engine::event::{EVENT_BYTES_MAX, Event, JSON_DEPTH_MAX, is_deeper, is_json_type};
use trapjaw_engine::problem::Problem;

use super::{Context, check_data, check_extension, check_text, decode_base64, read_time, sound};

/// The most problems of a batch that are reported: the answer is not to be longer than the question.
const PROBLEMS_MAX: usize = 100;

/// A CloudEvent in JSON: attributes by name, values unread.
#[derive(Default)]
pub(crate) struct Raw<'a> {
    specversion: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    source: Option<&'a RawValue>,
    kind: Option<&'a RawValue>,
    subject: Option<&'a RawValue>,
    time: Option<&'a RawValue>,
    content_type: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    data_base64: Option<&'a RawValue>,
    extensions: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// A batch while it is read.
pub(crate) struct Batch {
    ctx: Context,
    events: Vec<Event>,
    problems: Vec<Problem>,
    n_read: usize,
}

impl Raw<'_> {
    /// The event. What is wrong is added to `problems`, with `prefix` before its path.
    pub(crate) fn event(self, prefix: &str, ctx: Context, problems: &mut Vec<Problem>) -> Option<Event> {
        let mut reader = Reader { prefix, problems };
        if reader.text("specversion", self.specversion).as_deref() != Some("1.0") {
            reader.wrong("specversion", "`1.0` is expected");
        }
        let id = reader.required("id", self.id);
        let source = reader.required("source", self.source);
        let kind = reader.required("type", self.kind);
        let subject = reader.checked("subject", self.subject);
        let content_type = reader.checked("datacontenttype", self.content_type);
        let time = reader.text("time", self.time);
        let time = read_time(time.as_deref(), ctx).unwrap_or_else(|message| {
            reader.wrong("time", &message);
            ctx.now
        });
        let data = match (self.data, self.data_base64) {
            (Some(_), Some(_)) => Err(("data_base64", "there is `data` beside it".to_owned())),
            (None, None) => Ok(bytes::Bytes::new()),
            (Some(data), None) => read_data(data, content_type.as_deref()).map_err(|message| ("data", message)),
            (None, Some(data)) => {
                let text = reader.text("data_base64", Some(data)).unwrap_or_default();
                let data = decode_base64(&text);
                let data = data.and_then(|data| check_data(content_type.as_deref(), &data).map(|()| data));
                data.map_err(|message| ("data_base64", message))
            }
        };
        let mut extensions = Vec::with_capacity(self.extensions.len());
        for (name, value) in self.extensions {
            reader.extension(&name, value, &mut extensions);
        }
        let data = data.map_err(|(path, message)| reader.wrong(path, &message)).ok()?;
        let mut event = Event::new(source?, kind?, id?, time);
        event.subject = subject;
        event.content_type = content_type;
        event.data = data;
        event.extensions = extensions;
        Some(event)
    }
}

/// Reads attributes and notes what is wrong with them.
struct Reader<'p> {
    prefix: &'p str,
    problems: &'p mut Vec<Problem>,
}

impl Reader<'_> {
    fn wrong(&mut self, name: &str, message: &str) {
        if self.problems.len() < PROBLEMS_MAX {
            let path = if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) };
            self.problems.push(Problem::at(path, message));
        }
    }

    /// A string; none when it is absent or null, which CloudEvents takes for absent.
    fn text<'a>(&mut self, name: &str, value: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
        let raw = value?.get();
        match raw.as_bytes().first() {
            Some(b'n') => None,
            Some(b'"') if !raw.contains('\\') => Some(Cow::Borrowed(&raw[1..raw.len() - 1])),
            Some(b'"') => match serde_json::from_str(raw) {
                Ok(text) => Some(Cow::Owned(text)),
                Err(err) => {
                    self.wrong(name, &err.to_string());
                    None
                }
            },
            _ => {
                self.wrong(name, "a string is expected");
                None
            }
        }
    }

    fn checked(&mut self, name: &str, value: Option<&RawValue>) -> Option<Box<str>> {
        let text = self.text(name, value)?;
        if let Err(message) = check_text(&text, true) {
            self.wrong(name, &message);
        }
        Some(text.into())
    }

    fn required(&mut self, name: &str, value: Option<&RawValue>) -> Option<Box<str>> {
        let n_before = self.problems.len();
        let text = self.text(name, value);
        let Some(text) = text else {
            if self.problems.len() == n_before {
                self.wrong(name, "it is missing");
            }
            return None;
        };
        if let Err(message) = check_text(&text, false) {
            self.wrong(name, &message);
        }
        Some(text.into())
    }

    fn extension(&mut self, name: &str, value: &RawValue, extensions: &mut Vec<(Box<str>, Box<str>)>) {
        let raw = value.get();
        let text = match raw.as_bytes().first() {
            Some(b'{' | b'[') => {
                self.wrong(name, "an extension attribute is a string, a number or a boolean");
                return;
            }
            Some(b'"') | Some(b'n') => self.text(name, Some(value)),
            _ => Some(Cow::Borrowed(raw)),
        };
        let Some(text) = text else { return };
        match check_extension(name, &text, extensions) {
            Ok(()) => extensions.push((name.into(), text.into())),
            Err(message) => self.wrong(name, &message),
        }
    }
}

impl Batch {
    /// An empty batch.
    pub(crate) fn new(ctx: Context) -> Self {
        Self { ctx, events: Vec::new(), problems: Vec::new(), n_read: 0 }
    }

    /// Reads the events of an array.
    pub(crate) fn read<'de>(
        &mut self,
        deserializer: &mut serde_json::Deserializer<serde_json::de::StrRead<'de>>,
    ) -> serde_json::Result<()> {
        deserializer.deserialize_seq(&mut *self)
    }

    /// The place where reading stands.
    pub(crate) fn path(&self) -> String {
        format!("[{}]", self.n_read)
    }

    /// The events, unless something was wrong.
    pub(crate) fn finish(self) -> Result<Vec<Event>, Vec<Problem>> {
        if self.problems.is_empty() { Ok(self.events) } else { Err(self.problems) }
    }
}

impl<'de> Visitor<'de> for &mut Batch {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(raw) = seq.next_element::<Raw<'de>>()? {
            if self.n_read >= self.ctx.events_max {
                return Err(de::Error::custom(format_args!("a batch has at most {} events", self.ctx.events_max)));
            }
            let n_before = self.problems.len();
            let event = raw.event("", self.ctx, &mut self.problems);
            for problem in &mut self.problems[n_before..] {
                problem.path = format!("[{}].{}", self.n_read, problem.path);
            }
            self.events.extend(event);
            self.n_read += 1;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event: a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
        let mut raw = Raw::default();
        while let Some(name) = map.next_key_seed(NameSeed)? {
            let value: &'de RawValue = map.next_value()?;
            let place = match &*name {
                "specversion" => &mut raw.specversion,
                "id" => &mut raw.id,
                "source" => &mut raw.source,
                "type" => &mut raw.kind,
                "subject" => &mut raw.subject,
                "time" => &mut raw.time,
                "datacontenttype" => &mut raw.content_type,
                "data" => &mut raw.data,
                "data_base64" => &mut raw.data_base64,
                _ => {
                    raw.extensions.push((name, value));
                    continue;
                }
            };
            if place.replace(value).is_some() {
                return Err(de::Error::custom(format_args!("attribute `{name}` is there twice")));
            }
        }
        Ok(raw)
    }
}

/// Borrows a key from the text, unless it has escapes.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute's name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// The data as they were sent. They are copied out of the body: a batch is not to live as long as its slowest event.
fn read_data(data: &RawValue, content_type: Option<&str>) -> Result<bytes::Bytes, String> {
    let raw = data.get();
    if raw.len() > EVENT_BYTES_MAX {
        return Err(format!("{} bytes are more than {EVENT_BYTES_MAX}", raw.len()));
    }
    if content_type.is_none_or(is_json_type) {
        if is_deeper(raw.as_bytes(), JSON_DEPTH_MAX) {
            return Err(format!("it nests deeper than {JSON_DEPTH_MAX}"));
        }
        sound::check(raw).map_err(|err| err.to_string())?;
        return Ok(bytes::Bytes::copy_from_slice(raw.as_bytes()));
    }
    match serde_json::from_str::<String>(raw) {
        Ok(text) => Ok(text.into()),
        Err(err) if err.is_data() => Err("a string is expected, as datacontenttype is not JSON".into()),
        Err(err) => Err(err.to_string()),
    }
}
