//! An operator's proxy.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use trapjaw_engine::ports::Refusal;
use trapjaw_engine::tasks;

use crate::receiver::{Receiver, answer};
use crate::support::{build, context, message};
use crate::tls::{Authority, Server};

#[tokio::test]
async fn a_proxy_forwards_plain_requests() {
    let mut proxy = Receiver::start(vec![answer(202, "", "")]).await;
    let address = format!("http://me%40home:p+w%26@127.0.0.1:{}", proxy.port);
    // The name is the proxy's to look up, and the guard's opinion of its address is not asked.
    let config = json!({"url": "http://inside.test/hook?a=1", "proxy": address, "headers": {"x-a": "b"}});
    let sink = build(&config, &context()).ok().unwrap();
    assert_eq!(sink.send(&message("{}")).await.unwrap().status, Some(202));
    let request = proxy.request().await;
    assert_eq!(request.line, "POST http://inside.test/hook?a=1 HTTP/1.1");
    assert_eq!(request.header("host"), "inside.test");
    // `me@home:p+w&`
    assert_eq!(request.header("proxy-authorization"), "Basic bWVAaG9tZTpwK3cm");
}

#[tokio::test]
async fn a_proxy_tunnels_tls() {
    let authority = Authority::new();
    let server = Server::start(&authority, false).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://me:pw@{}", listener.local_addr().unwrap());
    let target_port = server.port;
    let seen = tasks::spawn("proxy", async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        let mut target = TcpStream::connect(("127.0.0.1", target_port)).await.unwrap();
        client.write_all(b"HTTP/1.1 200 established\r\n\r\n").await.unwrap();
        tasks::spawn("tunnel", async move { copy_bidirectional(&mut client, &mut target).await });
        String::from_utf8(head).unwrap()
    });
    let url = format!("https://server.test:{target_port}/");
    let config = json!({"url": url, "proxy": proxy, "tls": {"ca": authority.pem()}});
    let sink = build(&config, &context()).ok().unwrap();
    assert_eq!(sink.send(&message("{}")).await.unwrap().body, "HTTP/2.0 {}");
    let head = seen.await.unwrap();
    assert!(head.starts_with(&format!("CONNECT server.test:{target_port} HTTP/1.1\r\n")), "{head}");
    assert!(head.contains("roxy-Authorization: Basic bWU6cHc=\r\n"), "{head}");
}

#[tokio::test]
async fn a_proxy_that_refuses_may_be_tried_again() {
    let proxy = Receiver::start(vec![answer(503, "", "")]).await;
    let config = json!({"url": "https://inside.test/", "proxy": proxy.url("")});
    let err = build(&config, &context()).ok().unwrap().send(&message("{}")).await.unwrap_err();
    assert_eq!(err.refusal, Refusal::Retry(None));
    assert!(err.message.contains("tunnel"), "{err}");
}
