//! The sandbox: from a component's bytes to a plugin that can be called.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use trapjaw_engine::ports::{Plugin, World};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, WasmFeatures};

use crate::bindings::action::ActionPluginPre;
use crate::bindings::condition::ConditionPluginPre;
use crate::cache::{self, Cache};
use crate::call::Lane;
use crate::check::{self, About, Reason};
use crate::compile::Compile;
use crate::engine;
use crate::gauges::{Gauges, LaneGauges};
use crate::guest::Guest;
use crate::imports;
use crate::judge::{Condition, Witness};
use crate::plugin::{Code, Linked};
use crate::settings::{Settings, Warm};
use crate::warm::{USES_MAX, WarmPool};

/// Where plugins are made and called. A process has one: it reserves address space for every call it may make.
pub struct Sandbox {
    engine: Engine,
    features: WasmFeatures,
    for_conditions: Linker<Guest>,
    for_actions: Linker<Guest>,
    pub(crate) conditions: Lane,
    pub(crate) actions: Lane,
    pub(crate) warm_pool: WarmPool<Witness>,
    warm: Warm,
    cache: Cache,
    compile: Compile,
    pub(crate) n_linked: AtomicUsize,
}

/// Why a sandbox cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The runtime: most often there is not enough address space for its pool.
    #[error("start the WebAssembly runtime")]
    Runtime(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The folder of compiled code, or the host's key in it.
    #[error("open the folder of compiled code")]
    Cache(#[source] io::Error),
    /// The thread that watches over running guests.
    #[error("start the thread that watches guests")]
    Ticker(#[source] io::Error),
}

/// Why a component cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is not a plugin, or not one for this host: uploading it again cannot help.
    #[error("refuse component: {}", join(.0))]
    Refused(Vec<Reason>),
    /// The compiler refused it, or it takes more than the compiler may: uploading it again cannot help.
    #[error("compile component: {0}")]
    Compile(String),
    /// The host could not do it now; later it may.
    #[error("{0}")]
    Unavailable(String),
}

impl Sandbox {
    /// Opens a sandbox: starts the runtime, reserves its pool, opens the folder of compiled code.
    pub fn new(settings: Settings) -> Result<Arc<Self>, OpenError> {
        let runtime = |err: wasmtime::Error| OpenError::Runtime(err.into());
        let engine = engine::calling(&settings).map_err(runtime)?;
        let compiler = engine::compiling().map_err(runtime)?;
        let cache = Cache::open(&settings.cache_folder, &compiler).map_err(OpenError::Cache)?;
        engine::start_ticking(&engine).map_err(OpenError::Ticker)?;
        Ok(Arc::new(Self {
            features: engine.get_wasm_features(),
            for_conditions: imports::for_conditions(&engine).map_err(runtime)?,
            for_actions: imports::for_actions(&engine).map_err(runtime)?,
            conditions: Lane::new(engine.clone(), settings.condition, settings.n_conditions_max),
            actions: Lane::new(engine.clone(), settings.action, settings.n_actions_max),
            warm_pool: WarmPool::new(),
            warm: settings.warm,
            cache,
            compile: Compile::new(settings.compiler, compiler),
            n_linked: AtomicUsize::new(0),
            engine,
        }))
    }

    /// Reads a component without running or compiling it, and says every reason why it is not a plugin.
    ///
    /// It computes for as long as the component is large, tens of milliseconds for the largest: not for an async task.
    pub fn check(&self, bytes: &[u8]) -> Result<About, Vec<Reason>> {
        check::check(bytes, self.features)
    }

    /// Makes a component callable: checks it, takes its code from the cache or compiles it, and links it.
    ///
    /// `digest` is the SHA-256 of the bytes in hex. Dropped, the compiling stops; nothing else is left behind.
    pub async fn load(self: &Arc<Self>, digest: &str, bytes: Bytes) -> Result<Arc<dyn Plugin>, LoadError> {
        let (about, cached) = self.open(digest.to_owned(), bytes.clone()).await?;
        let pre = match cached {
            Some(pre) => pre,
            None => {
                let code = self.compile.compile(bytes).await?;
                self.keep(digest.to_owned(), code, about.world).await?
            }
        };
        let reads_past = about.reads_past();
        let code = match pre {
            Pre::Action(pre) => Code::Action(pre),
            Pre::Condition(pre) => {
                let version = self.warm_uses(&about).map(|uses| self.warm_pool.enter(uses));
                Code::Condition(Box::new(Condition { pre, digest: digest.to_owned(), reads_past, version }))
            }
        };
        Ok(Arc::new(Linked::new(Arc::clone(self), code, reads_past)))
    }

    /// How many calls an instance of that condition may be made for; none where each call gets a fresh one.
    fn warm_uses(&self, about: &About) -> Option<u32> {
        match self.warm {
            Warm::Asked => about.warm_uses,
            Warm::Never => None,
            Warm::Always => Some(USES_MAX),
        }
    }

    /// What the sandbox holds at the moment.
    pub fn gauges(&self) -> Gauges {
        let lane = |lane: &Lane| {
            let (n_running, n_waiting) = lane.n_running_and_waiting();
            LaneGauges { n_running, n_waiting }
        };
        let pool = self.engine.pooling_allocator_metrics().expect("the engine has a pooling allocator");
        Gauges {
            conditions: lane(&self.conditions),
            actions: lane(&self.actions),
            n_plugins: self.n_linked.load(Ordering::Relaxed),
            n_instances: pool.component_instances(),
            n_memories: pool.memories(),
            n_stacks: pool.stacks(),
            n_warm_memories: pool.unused_warm_memories(),
            warm_bytes: pool.unused_memory_bytes_resident(),
            warm: self.warm_pool.gauges(),
        }
    }

    /// Checks the component, and links it if its code is in the cache.
    async fn open(self: &Arc<Self>, digest: String, bytes: Bytes) -> Result<(About, Option<Pre>), LoadError> {
        let sandbox = Arc::clone(self);
        blocking(move || {
            if cache::hex(&Sha256::digest(&bytes)) != digest {
                return Err(LoadError::Refused(vec![Reason(format!("its SHA-256 is not {digest}"))]));
            }
            let about = sandbox.check(&bytes).map_err(LoadError::Refused)?;
            let Some(code) = sandbox.cache.get(&digest) else {
                return Ok((about, None));
            };
            match deserialize(&sandbox.engine, &code) {
                Ok(component) => sandbox.link(&component, about.world).map(|pre| (about, Some(pre))),
                Err(err) => {
                    tracing::warn!(digest, %err, "compiled code does not load: compiling again");
                    sandbox.cache.remove(&digest);
                    Ok((about, None))
                }
            }
        })
        .await
    }

    /// Links fresh code, and keeps it. A cache that cannot be written costs time at the next start, and nothing else.
    async fn keep(self: &Arc<Self>, digest: String, code: Vec<u8>, world: World) -> Result<Pre, LoadError> {
        let sandbox = Arc::clone(self);
        blocking(move || {
            let component = deserialize(&sandbox.engine, &code).map_err(|err| does_not_load(&err))?;
            let pre = sandbox.link(&component, world)?;
            if let Err(err) = sandbox.cache.put(&digest, &code) {
                tracing::warn!(digest, %err, "cannot keep compiled code");
            }
            Ok(pre)
        })
        .await
    }

    /// Resolves the imports; refuses what the pool has no room for, and what does not fit the world.
    fn link(&self, component: &Component, world: World) -> Result<Pre, LoadError> {
        let refuse = |reason: String| LoadError::Refused(vec![Reason(reason)]);
        let resources = component
            .resources_required()
            .ok_or_else(|| refuse("it imports or exports whole modules or components".into()))?;
        // The pool's other bounds were checked when the code was loaded; this one is the world's.
        let (needed, most) =
            (resources.max_initial_memory_size.unwrap_or(0) << 16, self.limits_of(world).memory_bytes_max);
        if needed > most as u64 {
            return Err(refuse(format!("it needs {needed} bytes of memory at its start, and {most} are the most")));
        }
        // The image is made now rather than in the first call; without one the memory is copied, and that works too.
        if let Err(err) = component.initialize_copy_on_write_image() {
            tracing::warn!(%err, "cannot make the image of a component's memory");
        }
        let does_not_fit = |err: wasmtime::Error| refuse(format!("it does not fit the contract: {err:#}"));
        match world {
            World::Condition => {
                let pre = self.for_conditions.instantiate_pre(component).map_err(does_not_fit)?;
                ConditionPluginPre::new(pre).map(Pre::Condition).map_err(does_not_fit)
            }
            World::Action => {
                let pre = self.for_actions.instantiate_pre(component).map_err(does_not_fit)?;
                ActionPluginPre::new(pre).map(|pre| Pre::Action(Box::new(pre))).map_err(does_not_fit)
            }
        }
    }

    fn limits_of(&self, world: World) -> &crate::settings::Limits {
        match world {
            World::Condition => self.conditions.limits(),
            World::Action => self.actions.limits(),
        }
    }
}

/// A component with its imports resolved.
enum Pre {
    Condition(ConditionPluginPre<Guest>),
    Action(Box<ActionPluginPre<Guest>>),
}

/// Makes compiled code executable.
#[expect(unsafe_code, reason = "the runtime cannot check compiled code, so we answer for where it comes from")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the code is what our own compiler wrote, in this process's child or, as the tag under the host's key
    // proved, in one before. It is a copy in memory that nobody else can change between that proof and here.
    unsafe { Component::deserialize(engine, code) }
}

/// Fresh code that does not load: it wants more of the pool than a call may have, or another program compiled it.
fn does_not_load(err: &wasmtime::Error) -> LoadError {
    let why = format!("{err:#}");
    // The runtime has one type for both; a test notices when its words change.
    if why.contains("pooling allocator") {
        LoadError::Refused(vec![Reason(format!("it does not fit the sandbox: {why}"))])
    } else {
        LoadError::Unavailable(format!("load compiled code: {why}"))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work).await.map_err(|err| LoadError::Unavailable(format!("load component: {err}")))?
}

fn join(reasons: &[Reason]) -> String {
    reasons.iter().map(Reason::to_string).collect::<Vec<_>>().join("; ")
}
