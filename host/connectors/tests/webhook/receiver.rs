//! A receiver on a raw socket that answers by a script, byte for byte.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use trapjaw_engine::tasks;

/// What the receiver does with a request.
pub(crate) enum Reply {
    /// Writes these bytes.
    Raw(Vec<u8>),
    /// Writes these bytes and closes the connection, with a reset.
    Break(Vec<u8>),
    /// Writes nothing more.
    Hang,
}

/// An answer with a status and a body.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Raw(format!("HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes())
}

pub(crate) fn ok() -> Reply {
    answer(200, "", "")
}

/// What the receiver saw.
#[derive(Debug)]
pub(crate) enum Seen {
    Request(Request),
    /// A connection was closed by the other side.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Request {
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(other, _)| other == name);
        let value = found.next().unwrap_or_else(|| panic!("no header {name}"));
        assert!(found.next().is_none(), "two headers {name}");
        &value.1
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(other, _)| other == name)
    }
}

pub(crate) struct Receiver {
    pub(crate) port: u16,
    seen: mpsc::Receiver<Seen>,
}

impl Receiver {
    /// Starts a receiver; the script is for all its connections together.
    pub(crate) async fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let (tx, seen) = mpsc::channel(1_000);
        tasks::spawn("receiver", async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tasks::spawn("receiver connection", serve(stream, connection, script.clone(), tx.clone()));
            }
        });
        Self { port, seen }
    }

    pub(crate) fn url(&self, rest: &str) -> String {
        format!("http://127.0.0.1:{}{rest}", self.port)
    }

    pub(crate) async fn seen(&mut self) -> Seen {
        let next = tokio::time::timeout(Duration::from_secs(20), self.seen.recv());
        next.await.expect("nothing was received").unwrap()
    }

    pub(crate) async fn request(&mut self) -> Request {
        loop {
            if let Seen::Request(request) = self.seen().await {
                return request;
            }
        }
    }

    /// Whether nothing more was received until now.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.seen.try_recv().is_err()
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    script: Arc<Mutex<VecDeque<Reply>>>,
    seen: mpsc::Sender<Seen>,
) {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer, connection).await {
        let _gone = seen.send(Seen::Request(request)).await;
        let reply = script.lock().unwrap().pop_front().expect("the script has no more replies");
        match reply {
            Reply::Raw(bytes) => stream.write_all(&bytes).await.unwrap(),
            Reply::Break(bytes) => {
                stream.write_all(&bytes).await.unwrap();
                stream.set_zero_linger().unwrap();
                return;
            }
            Reply::Hang => {
                let _closed = stream.read_u8().await;
                break;
            }
        }
    }
    let _gone = seen.send(Seen::Closed).await;
}

/// Reads one request; `None` when the other side closes the connection.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>, connection: usize) -> Option<Request> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end + 4).collect()).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().unwrap());
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer.drain(..length).collect();
    Some(Request { connection, line, headers, body })
}
