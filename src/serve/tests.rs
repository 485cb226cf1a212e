mod answers;
mod charts;
mod connections;
mod quality;
mod statistics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::{Patience, State, bind, run};
use crate::budget::Written;
use crate::clock::{Clock, boottime};
use crate::config;
use crate::metrics::Metrics;
use crate::store::reader::Limits;
use crate::store::reader::fixture::Fixture;
use crate::zone::Tz;

/// A server over a small store, on a thread and a port of its own.
struct Server {
    store: Fixture,
    metrics: Arc<Metrics>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

fn written(path: &std::path::Path, clock: &Clock, metrics: &Arc<Metrics>) -> Arc<Written> {
    let store = config::Store { path: path.to_owned(), ..config::Store::default() };
    Arc::new(Written::new(&store, clock.clone(), Arc::clone(metrics)))
}

fn loopback() -> config::Http {
    config::Http { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..config::Http::default() }
}

/// Panics where they are not the same but for the rounding of numbers.
#[track_caller]
fn same(got: &Value, expected: &Value) {
    fn is_same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
                let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
                (a - b).abs() <= 1e-9 * b.abs()
            }
            (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b)))
            }
            _ => a == b,
        }
    }
    assert!(is_same(got, expected), "got {got:#}\nexpected {expected:#}");
}

impl Server {
    fn new() -> Self {
        Self::with(Limits::default(), &loopback(), Patience::default())
    }

    fn knowing(quality: &[config::Quality]) -> Self {
        Self::made(Limits::default(), &loopback(), |state| state.knowing(quality, Duration::ZERO))
    }

    fn with(limits: Limits, http: &config::Http, patience: Patience) -> Self {
        Self::made(limits, http, |state| State { patience, ..state })
    }

    fn made(limits: Limits, http: &config::Http, with: impl FnOnce(State) -> State) -> Self {
        let store = Fixture::new(limits);
        let metrics = Arc::new(Metrics::default());
        metrics.store.writer_alive_at.set(boottime());
        let local = config::Clock {
            trust: config::Trust::Always,
            timezone: Some(Tz::Europe__Berlin),
            ..config::Clock::default()
        };
        let clock = Clock::with(&local, Arc::clone(&metrics));
        // Whatever this machine is.
        metrics.clock.synchronised.store(false, Ordering::Relaxed);
        let path = store.dir.path().join("t.duckdb");
        let state = with(
            State::new(
                store.reader.clone(),
                Arc::clone(&metrics),
                clock.clone(),
                written(&path, &clock, &metrics),
                path,
                http,
            )
            .unwrap(),
        );
        let (stop, stopping) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(bind(http)).unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || runtime.block_on(run(listener, state, stopping)).unwrap());
        Self { store, metrics, address, stop, thread: Some(thread) }
    }

    fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .new_agent();
        let mut request = agent.get(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.call().unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect(),
            body: response.body_mut().with_config().limit(100_000_000).read_to_string().unwrap(),
        }
    }

    fn get_json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// Status, code and message of an error.
    fn error(&self, path: &str) -> (u16, String, String) {
        let answer = self.get(path);
        let error = answer.json()["error"].take();
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        (answer.status, text("code"), text("message"))
    }

    fn stop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
