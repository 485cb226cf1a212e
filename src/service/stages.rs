//! The stages of the running daemon, each watched: the writer's thread, and the I/O thread with HTTP and the sources.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio::sync::watch;

use super::{ServiceError, ended};
use crate::budget::Written;
use crate::clock::{self, Clock};
use crate::config::{self, Config};
use crate::metrics::{Metrics, SourceStatus};
use crate::pipeline::{self, Intake};
use crate::serve;
use crate::source;
use crate::store::{Lock, StopBy, Store, WriterError};

/// How often the I/O thread shows that it lives.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// A stage has ended.
#[derive(Debug)]
pub enum Ended {
    /// A source, by name.
    Source(Arc<str>, Result<(), String>),
    /// HTTP.
    Serve(Result<(), String>),
    /// The writer.
    Writer(Result<(), WriterError>),
}

/// The running stages.
pub struct Stages {
    ended: Receiver<Ended>,
    address: SocketAddr,
    sources: Vec<Arc<str>>,
    writer: bool,
    serve: bool,
    stop_sources: watch::Sender<bool>,
    stop_serve: watch::Sender<bool>,
    stop_by: Arc<StopBy>,
    // Keeps the channel open while no source is configured.
    intake: Option<Intake>,
    io_alive_at: Arc<AtomicI64>,
    _lock: Lock,
}

impl Stages {
    /// Binds the HTTP address, then starts the writer, HTTP and the sources, in this order.
    ///
    /// # Errors
    /// [`ServiceError::Http`] when the address cannot be bound, [`ServiceError::Start`] when a thread cannot be made.
    pub fn start(
        config: &Config,
        store: Store,
        clock: &Clock,
        metrics: &Arc<Metrics>,
        written: &Arc<Written>,
    ) -> Result<Self, ServiceError> {
        let start = |what| move |source| ServiceError::Start { what, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Two queries, and for each broker its files and a name that resolves slowly: none waits for another. Threads are
            // made when they are needed and end after ten idle seconds.
            .max_blocking_threads(4 + 2 * config.mqtt.len())
            .thread_name("blocking")
            .build()
            .map_err(start("the I/O runtime"))?;
        let listener = runtime.block_on(serve::bind(&config.http)).map_err(ServiceError::Http)?;
        let address = listener.local_addr().map_err(ServiceError::Http)?;
        let state = serve::State::new(
            store.reader,
            Arc::clone(metrics),
            clock.clone(),
            Arc::clone(written),
            config.store.path.clone(),
            &config.http,
        )
        .map_err(ServiceError::Http)?
        .knowing(&config.quality, config.store.flush_interval);

        let (tx, ended) = unbounded();
        let (intake, outlet) = pipeline::channel(&config.intake, Arc::clone(metrics));
        let (stop_sources, _) = watch::channel(false);
        let (stop_serve, serve_stop) = watch::channel(false);
        let stop_by = store.writer_stop_by;
        let mut writer = store.writer.under(clock.clone())?.counting(Arc::clone(written))?;
        let brokers: Vec<Arc<str>> = config.mqtt.iter().map(|m| Arc::from(m.name.as_str())).collect();
        writer.keep_sources(&brokers);
        let tell = tx.clone();
        std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || {
                let result = writer.run(&outlet);
                // The outlet goes first: a source that waits for room must learn that there is none to come.
                drop(outlet);
                let _ = tell.send(Ended::Writer(result));
            })
            .map_err(start("the writer's thread"))?;

        let sources = Sources::new(config, clock, metrics, &intake, &stop_sources);
        let names = sources.names();
        let io_alive_at = Arc::new(AtomicI64::new(clock::boottime()));
        let alive = Arc::clone(&io_alive_at);
        let spawn = move || {
            runtime.block_on(async move {
                let all = sources.spawn(&tx);
                let http = tokio::spawn(async move {
                    let result = serve::run(listener, state, serve_stop).await.map_err(|e| e.to_string());
                    let _ = tx.send(Ended::Serve(result));
                });
                let heart = tokio::spawn(async move {
                    let mut beat = tokio::time::interval(HEARTBEAT);
                    loop {
                        beat.tick().await;
                        alive.store(clock::boottime(), Ordering::Relaxed);
                    }
                });
                for task in all {
                    let _ = task.await;
                }
                let _ = http.await;
                heart.abort();
            });
            // A name that does not resolve must not hold the exit.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("io".into()).spawn(spawn).map_err(start("the I/O thread"))?;
        Ok(Self {
            ended,
            address,
            sources: names,
            writer: true,
            serve: true,
            stop_sources,
            stop_serve,
            stop_by,
            intake: Some(intake),
            io_alive_at,
            _lock: store.lock,
        })
    }

    /// The bound HTTP address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stages that end are told here.
    pub fn ended(&self) -> &Receiver<Ended> {
        &self.ended
    }

    /// Whether nothing runs any more.
    pub fn all_ended(&self) -> bool {
        self.sources.is_empty() && !self.writer && !self.serve
    }

    /// CLOCK_BOOTTIME of the I/O thread's last sign of life.
    pub fn io_alive_at(&self) -> i64 {
        self.io_alive_at.load(Ordering::Relaxed)
    }

    /// Names of what still runs.
    pub fn busy(&self) -> String {
        let mut busy: Vec<&str> = self.sources.iter().map(AsRef::as_ref).collect();
        if self.writer {
            busy.push("the writer");
        }
        if self.serve {
            busy.push("HTTP");
        }
        busy.join(", ")
    }

    /// Ends the sources; everything they sent is stored within `drain`.
    pub fn stop(&mut self, drain: Duration) {
        self.intake = None;
        self.stop_by.set(drain);
        self.stop_sources.send_replace(true);
        if !self.writer {
            self.stop_serve.send_replace(true);
        }
    }

    /// Notes an end. An end that was not asked for is an error, whatever the stage thinks of it.
    pub fn note(&mut self, stage: Ended, stopping: bool) -> Option<ServiceError> {
        match stage {
            Ended::Source(name, result) => {
                self.sources.retain(|n| *n != name);
                failure(&format!("source {name}"), result, stopping)
            }
            Ended::Serve(result) => {
                self.serve = false;
                failure("HTTP", result, stopping)
            }
            Ended::Writer(result) => {
                self.writer = false;
                // HTTP ends last, so that the drain can be watched.
                self.stop_serve.send_replace(true);
                match result {
                    Err(error) => Some(error.into()),
                    Ok(()) if stopping => None,
                    Ok(()) => Some(ended("the writer", "it was not asked to")),
                }
            }
        }
    }
}

fn failure(stage: &str, result: Result<(), String>, stopping: bool) -> Option<ServiceError> {
    match result {
        Err(reason) => Some(ended(stage, &reason)),
        Ok(()) if stopping => None,
        Ok(()) => Some(ended(stage, "it was not asked to")),
    }
}

/// The configured sources with everything each needs, before they run.
struct Sources {
    intake: Intake,
    clock: Clock,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
    serial: Vec<(config::Serial, Arc<SourceStatus>)>,
    modbus: Vec<(config::Modbus, Arc<SourceStatus>)>,
    mqtt: Vec<(config::Mqtt, Arc<SourceStatus>)>,
}

impl Sources {
    fn new(
        config: &Config,
        clock: &Clock,
        metrics: &Arc<Metrics>,
        intake: &Intake,
        stop: &watch::Sender<bool>,
    ) -> Self {
        let status = |name: &str, kind, address| SourceStatus::new(Arc::from(name), kind, address);
        let port = |c: &config::Serial| {
            let status = status(&c.name, "serial", c.port.display().to_string());
            metrics.add_source(status.reads(c.protocol.keys().format.as_str()))
        };
        let broker = |c: &config::Mqtt| metrics.add_source(status(&c.name, "mqtt", c.url.to_string()));
        let bus = |c: &config::Modbus| {
            let status = status(&c.name, "modbus", c.port.display().to_string());
            metrics.add_source(status.reads("modbus-rtu"))
        };
        let serial = config.serial.iter().map(|c| (c.clone(), port(c))).collect();
        let modbus = config.modbus.iter().map(|c| (c.clone(), bus(c))).collect();
        let mqtt = config.mqtt.iter().map(|c| (c.clone(), broker(c))).collect();
        Self {
            intake: intake.clone(),
            clock: clock.clone(),
            metrics: Arc::clone(metrics),
            stop: stop.subscribe(),
            serial,
            modbus,
            mqtt,
        }
    }

    fn names(&self) -> Vec<Arc<str>> {
        let serial = self.serial.iter().map(|(_, s)| Arc::clone(&s.name));
        let serial = serial.chain(self.modbus.iter().map(|(_, s)| Arc::clone(&s.name)));
        serial.chain(self.mqtt.iter().map(|(_, s)| Arc::clone(&s.name))).collect()
    }

    fn spawn(self, tx: &Sender<Ended>) -> Vec<tokio::task::JoinHandle<()>> {
        let mut tasks = Vec::new();
        for (config, status) in self.serial {
            let name = Arc::clone(&status.name);
            let run = source::serial::run(
                config,
                self.intake.clone(),
                self.clock.clone(),
                Arc::clone(&self.metrics),
                status,
                self.stop.clone(),
            );
            tasks.push(tokio::spawn(watched(name, run, tx.clone())));
        }
        for (config, status) in self.modbus {
            let name = Arc::clone(&status.name);
            let run = source::modbus::run(
                config,
                self.intake.clone(),
                self.clock.clone(),
                Arc::clone(&self.metrics),
                status,
                self.stop.clone(),
            );
            tasks.push(tokio::spawn(watched(name, run, tx.clone())));
        }
        for (config, status) in self.mqtt {
            let name = Arc::clone(&status.name);
            let run = source::mqtt::run(
                config,
                self.intake.clone(),
                self.clock.clone(),
                Arc::clone(&self.metrics),
                status,
                self.stop.clone(),
            );
            tasks.push(tokio::spawn(watched(name, run, tx.clone())));
        }
        tasks
    }
}

/// Runs a source, and tells when and how it has ended.
async fn watched<E: std::fmt::Display>(name: Arc<str>, run: impl Future<Output = Result<(), E>>, tx: Sender<Ended>) {
    let result = run.await.map_err(|e| e.to_string());
    // Nobody listens any more only when the process is ending.
    let _ = tx.send(Ended::Source(name, result));
}
