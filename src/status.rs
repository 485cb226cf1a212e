//! `gadwall status`: the answers of `/stats` and `/healthz` of a running daemon as text for a person.

use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

/// Where a daemon listens unless it is configured otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Longest answer that is read, in bytes: some 2,000 sources.
const MAX_ANSWER: u64 = 1 << 20;

/// Asks the daemon at `url` (such as [`DEFAULT_URL`]) how it is, and writes the answer to `out`. `token` is the bearer
/// token that a daemon on another address than loopback wants. Blocks for at most 20 seconds.
///
/// # Errors
/// When nobody answers, when the answer is not that of a daemon, or when `out` cannot be written.
pub fn print(url: &str, token: Option<&str>, out: &mut impl Write) -> anyhow::Result<()> {
    let daemon = Endpoint::new(url, token, Duration::from_secs(10));
    let stats = daemon.json("/stats")?;
    // An older daemon may not have it, and the numbers are of use without it.
    let health = daemon.get("/healthz").ok().and_then(|answer| serde_json::from_str(&answer.body).ok());
    out.write_all(text(&stats, &health.unwrap_or(Value::Null)).as_bytes())?;
    Ok(())
}

/// The HTTP endpoint of a daemon.
pub(crate) struct Endpoint {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
}

/// What an [`Endpoint`] answered.
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body; at most [`MAX_ANSWER`].
    pub(crate) body: String,
}

impl Endpoint {
    /// The endpoint at `url`; each question may take up to `patience`.
    pub(crate) fn new(url: &str, token: Option<&str>, patience: Duration) -> Self {
        let url = url.trim_end_matches('/');
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        // A gateway is near: a proxy for the web would not find its loopback address.
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(patience))
            .http_status_as_error(false)
            .proxy(None)
            .user_agent(concat!("gadwall/", env!("CARGO_PKG_VERSION")));
        Self { agent: config.build().into(), url, token: token.map(str::to_owned) }
    }

    /// Asks for `path` and hands out the answer with its body unread. Any HTTP status is an answer.
    pub(crate) fn open(&self, path: &str) -> anyhow::Result<ureq::http::Response<ureq::Body>> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.call().with_context(|| format!("nobody answers at {}: is the daemon running? (--url URL)", self.url))
    }

    /// Asks for `path`. Any HTTP status is an answer.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let mut response = self.open(path)?;
        let mut body = Vec::new();
        response
            .body_mut()
            .as_reader()
            .take(MAX_ANSWER)
            .read_to_end(&mut body)
            .with_context(|| format!("the answer of {}{path} broke off", self.url))?;
        Ok(Answer { status: response.status().as_u16(), body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Asks for `path`, which must answer 200 and JSON.
    pub(crate) fn json(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.get(path)?;
        match answer.status {
            200 => {}
            401 | 403 => bail!("the daemon at {} wants its token, or another one (HTTP {})", self.url, answer.status),
            status => bail!("{}{path} answers with HTTP {status}, not 200: is that a gadwall? (--url URL)", self.url),
        }
        serde_json::from_str(&answer.body)
            .with_context(|| format!("{}{path} does not answer in JSON: is that a gadwall? (--url URL)", self.url))
    }
}

/// The whole text. What is missing in `stats` or `health` is shown as `-`.
fn text(stats: &Value, health: &Value) -> String {
    let at = |path: &str| stats.pointer(path).unwrap_or(&Value::Null);
    let number = |path: &str| shown(at(path).as_u64(), grouped);
    let bytes = |path: &str| shown(at(path).as_u64(), size);
    let mut lines = vec![
        format!("health   {}", health_line(health)),
        format!("version  {}, up {}", word(at("/version")), shown(at("/uptime_s").as_f64(), span)),
        String::new(),
        "readings".to_owned(),
    ];
    for (label, key) in [
        ("received", "received"),
        ("committed", "committed"),
        ("duplicates", "duplicate"),
        ("conflicts", "conflict"),
        ("expired", "expired"),
        ("unsynced", "unsynced"),
        ("dropped", "dropped"),
        ("dead", "dead"),
    ] {
        let reasons = reasons(at(&format!("/readings/{key}_by_reason")));
        lines.push(format!("  {label:<10} {:>14}{reasons}", number(&format!("/readings/{key}"))));
    }
    let last = shown(at("/commits/last_ms").as_f64(), |ms| format!("{ms:.1} ms"));
    lines.extend([
        String::new(),
        format!("queue    {} of {} rows, {}", number("/queue/depth"), number("/queue/capacity"), bytes("/queue/bytes")),
        format!("commits  {}, the last in {last}, {} failed", number("/commits/count"), number("/commits/failed")),
        format!(
            "store    {} and {} of WAL: {} readings, {} nodes, {} series",
            bytes("/store/file_bytes"),
            bytes("/store/wal_bytes"),
            number("/store/readings"),
            number("/store/nodes"),
            number("/store/series"),
        ),
        format!(
            "         {} repairs, {} events, {} dead letters",
            number("/store/recovered"),
            number("/store/events"),
            number("/store/dead_letters"),
        ),
        format!("written  {} since the start, {} today", bytes("/written/bytes"), bytes("/written/today_bytes")),
        format!("memory   {}, {} of it anonymous", bytes("/memory/rss_bytes"), bytes("/memory/anon_bytes")),
        format!(
            "clock    {}, {}, {} questions for the time not answered",
            either(at("/clock/trusted"), "trusted", "in doubt"),
            either(at("/clock/synchronised"), "synchronised", "not synchronised"),
            number("/clock/withheld"),
        ),
        String::new(),
    ]);
    match at("/sources").as_array().map(Vec::as_slice) {
        None => lines.push("sources  -".to_owned()),
        Some([]) => lines.push("sources  none".to_owned()),
        Some(sources) => {
            lines.push("sources".to_owned());
            lines.extend(sources.iter().flat_map(source_lines));
        }
    }
    lines.join("\n") + "\n"
}

fn health_line(health: &Value) -> String {
    let failing: Vec<String> = health["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["ok"] == Value::Bool(false))
        .map(|check| format!("{} ({})", word(&check["name"]), word(&check["detail"])))
        .collect();
    let status = word(&health["status"]);
    if failing.is_empty() { status } else { format!("{status}: {}", failing.join(", ")) }
}

/// One line for the source, and one more for each of its reason and problems.
fn source_lines(source: &Value) -> Vec<String> {
    let number = |key: &str| shown(source[key].as_u64(), grouped);
    let age = shown(source["last_reading_age_s"].as_f64(), |age| format!("{} ago", span(age)));
    let mut lines = vec![format!(
        "  {} ({} {}): {}, last reading {age}, {} readings, {} acks, {} refused, {} dead",
        word(&source["name"]),
        word(&source["kind"]),
        word(&source["address"]),
        word(&source["state"]),
        number("readings"),
        number("acked"),
        number("refused"),
        number("dead"),
    )];
    let problems = source["problems"].as_array().into_iter().flatten();
    let notes = std::iter::once(&source["reason"]).chain(problems).filter(|note| note.is_string());
    lines.extend(notes.map(|note| format!("    {}", word(note))));
    let units = source["units"].as_array().into_iter().flatten();
    for unit in units.filter(|unit| unit["state"] == "dead") {
        let named: Vec<String> = unit["nodes"].as_array().into_iter().flatten().map(word).collect();
        let age = shown(unit["last_answer_age_s"].as_f64(), |age| format!("{} ago", span(age)));
        let id = shown(unit["unit"].as_u64(), grouped);
        lines.push(format!(
            "    unit {id} ({}) is dead, last answer {age}: {}",
            named.join(", "),
            word(&unit["reason"])
        ));
    }
    lines
}

/// The counts by reason that are not zero, as ` (reason 1, other 2)`.
fn reasons(counts: &Value) -> String {
    let counts: Vec<String> = counts
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(reason, count)| count.as_u64().filter(|n| *n > 0).map(|n| format!("{reason} {}", grouped(n))))
        .collect();
    if counts.is_empty() { String::new() } else { format!("  ({})", counts.join(", ")) }
}

fn shown<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// Text for a terminal: names and errors come from outside, and a control character in them must not reach it.
fn word(value: &Value) -> String {
    let clean = |text: &str| text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    shown(value.as_str(), clean)
}

fn either(value: &Value, yes: &str, no: &str) -> String {
    shown(value.as_bool(), |b| if b { yes } else { no }.to_owned())
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in decimal units, as the configuration has them: `999 B`, `1.5 MB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut unit = "B";
    let mut below = 1;
    for (name, factor) in [("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000)] {
        if bytes >= factor {
            (unit, below) = (name, factor);
        }
    }
    if below == 1 {
        return format!("{bytes} B");
    }
    format!("{}.{} {unit}", bytes / below, bytes % below / (below / 10))
}

/// A time span by its two largest units: `4.2 s`, `3 min 4 s`, `2 d 5 h`.
pub(crate) fn span(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = Duration::try_from_secs_f64(seconds.round()).map_or(u64::MAX, |d| d.as_secs());
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", grouped(whole / 86_400), whole % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests;
