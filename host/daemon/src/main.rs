//! Trapjaw: when this happens, if that holds, do those things.
//!
//! `cli` reads the command line and is the client; `serve` runs the daemon: `host` puts it together of `config`, the
//! sibling crates and `api`, and `listener` gives it to the network.

mod cli;
mod config;

mod serve;
mod host;
mod listener;
mod telemetry;

mod bench;

mod api;

mod desk;
mod composer;
mod installation;
mod sinks;

mod pass;
mod vault;
mod clock;
mod text;

#[cfg(test)]
mod reference;

use std::process::ExitCode;

use clap::Parser;

use cli::args::{Cli, Command};

/// The system's allocator takes a fifth of the CPU of a whole life, between threads that give each other memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The compiler's process does nothing else: it limits itself before it reads a byte, and needs no runtime.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|arg| arg == trapjaw_sandbox::COMPILE_COMMAND) && args.next().is_none() {
        return trapjaw_sandbox::compile_child();
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            eprintln!("trapjaw: start runtime: {err}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => Box::pin(serve::serve(args)).await,
            Command::Dev(args) => Box::pin(serve::dev(args)).await,
            Command::Bench(args) => Box::pin(bench::bench(args)).await,
            Command::Client(command) => Box::pin(cli::run(cli.globals, command)).await,
        }
    })
}
