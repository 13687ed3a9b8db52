//! The webhook sink against scripted receivers, over real sockets.
#![cfg(test)]

mod answers;
mod guard;
mod oauth;
mod options;
mod proxy;
mod receiver;
mod requests;
mod support;
mod tls;
