//! Measures calls of a condition or an action: `call COMPONENT.wasm [CONFIG] [CALLS] [THREADS] [asked|never|always]`;
//! the last says which conditions are called again in the same instance.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use trapjaw_engine::event::Event;
use trapjaw_engine::ports::{
    Activity, Failure, Hands, JudgeCall, Past, PerformCall, Plugin, Receipt, SendRequest, StateOp, World,
};
use trapjaw_engine::time::Time;
use trapjaw_sandbox::{COMPILE_COMMAND, Compiler, Sandbox, Settings, Warm, compile_child};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |n: usize, default: &'static str| arguments.get(n).map_or(default, String::as_str);
    if argument(0, "") == COMPILE_COMMAND {
        return Ok(compile_child());
    }
    if arguments.is_empty() {
        return Err("call COMPONENT.wasm [CONFIG] [CALLS] [THREADS] [asked|never|always]".into());
    }
    let warm = match argument(4, "asked") {
        "asked" => Warm::Asked,
        "never" => Warm::Never,
        "always" => Warm::Always,
        other => return Err(format!("asked, never or always are expected, and it is {other}").into()),
    };
    let (config, n_calls, n_threads) = (argument(1, "{}"), argument(2, "20000").parse()?, argument(3, "1").parse()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(n_threads).enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let compiler = Compiler::Child(std::env::current_exe()?);
    let sandbox = Sandbox::new(Settings { warm, ..Settings::new(folder.path().to_owned(), compiler) })?;
    let plugin = runtime.block_on(load(Path::new(&arguments[0]), &sandbox))?;
    println!("{}", runtime.block_on(once(&*plugin, config)));
    let began = Instant::now();
    let tasks: Vec<_> = (0..n_threads)
        .map(|_| {
            let (plugin, config): (_, Arc<str>) = (Arc::clone(&plugin), config.into());
            let calls = async move { many(&*plugin, &config, n_calls).await };
            runtime.handle().spawn(calls)
        })
        .collect();
    let mut spans = Vec::new();
    for task in tasks {
        spans.extend(runtime.block_on(task)?);
    }
    let passed = began.elapsed();
    spans.sort();
    let at = |share: f64| spans[((spans.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1e3;
    let rate = spans.len() as f64 / passed.as_secs_f64();
    println!("{rate:.0} calls/s, p50 {:.1} µs, p90 {:.1} µs, p99 {:.1} µs", at(0.5), at(0.9), at(0.99));
    println!("{:?}", sandbox.gauges().warm);
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
async fn load(path: &Path, sandbox: &Arc<Sandbox>) -> Outcome<Arc<dyn Plugin>> {
    let bytes = Bytes::from(std::fs::read(path)?);
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut plugin = None;
    for what in ["check, compile and link", "check, read code and link"] {
        let began = Instant::now();
        plugin = Some(sandbox.load(&digest, bytes.clone()).await?);
        println!("{what}: {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    }
    plugin.ok_or_else(|| "not loaded".into())
}

async fn many(plugin: &dyn Plugin, config: &str, n_calls: usize) -> Vec<Duration> {
    let mut spans = Vec::with_capacity(n_calls);
    for _ in 0..n_calls {
        let began = Instant::now();
        once(plugin, config).await;
        spans.push(began.elapsed());
    }
    spans
}

async fn once(plugin: &dyn Plugin, config: &str) -> String {
    let mut event = Event::new("shop", "order.paid", "1", Time(1_700_000_000_000_000));
    event.data = Bytes::from_static(
        br#"{"new":{"id":7,"total":120,"customer_id":"c-17","status":"paid"},"changed":["status"]}"#,
    );
    event.extensions = vec![("tenant".into(), "acme".into())];
    let (event, now, config) = (Arc::new(event), Time(1_700_000_001_000_000), Arc::<str>::from(config));
    let (trigger, subject, facts) = (Arc::<str>::from("shop.vip"), Arc::<str>::from("c-17"), Arc::<str>::from("{}"));
    match plugin.world() {
        World::Condition => {
            let call = JudgeCall { event, config, trigger, subject, now, facts };
            let report = plugin.judge(call, Arc::new(World0)).await;
            format!("{:?}, thread time {:?}, log {:?}", report.answer, report.cpu, report.log)
        }
        World::Action => {
            let (run, action, traceparent) = ("run_1".to_owned(), Arc::from("crm"), None);
            let call =
                PerformCall { event, config, trigger, run, action, subject, attempt: 1, now, facts, traceparent };
            let report = plugin.perform(call, Arc::new(World0)).await;
            format!("{:?}, thread time {:?}, log {:?}", report.answer, report.cpu, report.log)
        }
    }
}

/// A world in which nothing happened before, and every send is confirmed at once.
struct World0;

#[async_trait]
impl Past for World0 {
    async fn activity(&self, _: &str, _: &str) -> Result<Activity, Failure> {
        Ok(Activity::default())
    }
}

#[async_trait]
impl Hands for World0 {
    async fn send(&self, _: SendRequest) -> Result<Receipt, Failure> {
        Ok(Receipt { status: Some(204), ..Receipt::default() })
    }

    async fn state_get(&self, _: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(None)
    }

    async fn state_change(&self, _: StateOp) -> Result<i64, Failure> {
        Ok(1)
    }
}
