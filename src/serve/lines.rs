//! JSON answers with many lines: kept in a compact form and written piece by piece, as the client takes them.

use std::io;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

/// A piece is sent when it has as many bytes; the last line may make it longer.
const PIECE: usize = 64 * 1024;

/// Longest time for a client to take an answer: it is a few megabytes, and others may wait for its room.
const TIME: Duration = Duration::from_secs(60);

/// An object with all fields of `head`, then `name` with the lines as an array, then the fields of `tail`. `room` is given
/// back when all of it was sent, the client has gone, or it takes too long.
pub(super) fn answer<L: Serialize>(
    head: &impl Serialize,
    name: &'static str,
    lines: impl Iterator<Item = L> + Send + 'static,
    tail: &impl Serialize,
    room: OwnedSemaphorePermit,
) -> Response {
    let mut text = fields(head);
    text.insert(0, b'{');
    text.extend_from_slice(format!("\"{name}\":[").as_bytes());
    let mut end = b"\n]".to_vec();
    let tail = fields(tail);
    if let Some(inner) = tail.strip_suffix(b",") {
        end.push(b',');
        end.extend_from_slice(inner);
    }
    end.extend_from_slice(b"}\n");
    let pieces = Pieces { text, end: Some(end), lines, comma: false, until: Instant::now() + TIME, _room: room };
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(stream::iter(pieces))).into_response()
}

/// The fields of an object, each with a comma behind it.
fn fields(object: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_vec(object).expect("a struct with named fields goes into memory");
    let mut inner = text[1..text.len() - 1].to_vec();
    if !inner.is_empty() {
        inner.push(b',');
    }
    inner
}

struct Pieces<I> {
    /// What is to be sent before the next line.
    text: Vec<u8>,
    /// What ends the answer; `None` once it was sent.
    end: Option<Vec<u8>>,
    lines: I,
    comma: bool,
    until: Instant,
    _room: OwnedSemaphorePermit,
}

impl<L: Serialize, I: Iterator<Item = L>> Iterator for Pieces<I> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        self.end.as_ref()?;
        if Instant::now() >= self.until {
            return Some(Err(io::ErrorKind::TimedOut.into()));
        }
        let mut text = std::mem::take(&mut self.text);
        for line in self.lines.by_ref() {
            text.extend_from_slice(if self.comma { b",\n" } else { b"\n" });
            self.comma = true;
            if let Err(e) = serde_json::to_writer(&mut text, &line) {
                return Some(Err(io::Error::other(e)));
            }
            if text.len() >= PIECE {
                return Some(Ok(text.into()));
            }
        }
        text.extend_from_slice(&self.end.take()?);
        Some(Ok(text.into()))
    }
}
