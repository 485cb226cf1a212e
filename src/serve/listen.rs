//! The listening socket and its connections.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use super::error::ApiError;
use super::patient::Patient;
use super::places::{Place, Places};
use super::turn_body::TurnBody;
use super::{State, router};
use crate::config;

/// Longest request header, and most of an answer that waits for the socket beside the page in hand.
const BUFFER: usize = 16 * 1024;

/// Connections that the kernel keeps until they are accepted. Above, it drops the first packet of one, and the client tries again
/// after a second, and after three.
const BACKLOG: u32 = 1_024;

/// First and longest pause after a failed accept.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Listens on `[http] listen`.
///
/// # Errors
/// With the address, and the reason in words: it is in use, it is not this machine's, or it is open to others without
/// a token.
pub async fn bind(config: &config::Http) -> io::Result<TcpListener> {
    let address = config.listen;
    if !address.ip().is_loopback() && config.token_file.is_none() {
        let text = format!("[http] listen: {address} is open to other machines, which needs token-file");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    listen(address).map_err(|e| {
        let why = match e.kind() {
            io::ErrorKind::AddrInUse => "the address is in use by another program".to_owned(),
            io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_owned(),
            io::ErrorKind::PermissionDenied => "the port needs more rights".to_owned(),
            _ => e.to_string(),
        };
        io::Error::new(e.kind(), format!("[http] listen: cannot listen on {address}: {why}"))
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As every server does: a port whose last connections are not over yet can be taken again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers requests until `stop` is true or its sender is gone. Requests in progress then have two seconds to end.
///
/// Needs a runtime with timers and I/O. Every connection is accepted; when there are more than `[http] max-connections`
/// and a few, one is closed for each new one: see [`super::places`].
///
/// # Errors
/// The listening socket is broken. That the machine has no file descriptors or memory for another connection is none:
/// it is tried again.
pub async fn run(listener: TcpListener, state: State, stop: watch::Receiver<bool>) -> io::Result<()> {
    let state = Arc::new(state);
    let router = router(Arc::clone(&state));
    let places = Places::new(state.max_connections, Arc::clone(&state.metrics));
    let mut connections = JoinSet::new();
    let mut stopping = stop.clone();
    let mut acceptor = Acceptor { listener, pause: None };
    loop {
        tokio::select! {
            () = stopped(&mut stopping) => break,
            Some(ended) = connections.join_next() => pass_panic_on(ended),
            accepted = acceptor.accept() => {
                let stream = accepted?;
                let place = loop {
                    match places.enter() {
                        Ok(place) => break place,
                        Err(wait) => sleep(wait).await,
                    }
                };
                connections.spawn(converse(stream, place, router.clone(), Arc::clone(&state), stop.clone()));
                // A request that is there already is read, and what was closed for it is gone, before the next one comes.
                yield_now().await;
            }
        }
    }
    drop(acceptor);
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            pass_panic_on(ended);
        }
    };
    if timeout(state.patience.stop, all_ended).await.is_err() {
        tracing::info!(connections = connections.len(), "ending HTTP connections in the middle of their answers");
    }
    connections.shutdown().await;
    Ok(())
}

struct Acceptor {
    listener: TcpListener,
    /// Set after an error: how long to wait before the next try.
    pause: Option<Duration>,
}

impl Acceptor {
    /// The next connection. Can be dropped and called again without losing one.
    async fn accept(&mut self) -> io::Result<TcpStream> {
        loop {
            if let Some(pause) = self.pause {
                sleep(pause).await;
            }
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    self.pause = None;
                    return Ok(stream);
                }
                // The client was gone before it was accepted.
                Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
                Err(e) if matches!(e.raw_os_error(), Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK)) => {
                    return Err(e);
                }
                Err(e) => {
                    if self.pause.is_none() {
                        tracing::warn!("cannot accept HTTP connections: {e}");
                    }
                    let (first, longest) = ACCEPT_PAUSE;
                    self.pause = Some(self.pause.map_or(first, |pause| (pause * 2).min(longest)));
                }
            }
        }
    }
}

/// Whether a request is for what needs the store, and may take its time.
fn is_for_data(request: &Request<Incoming>) -> bool {
    request.uri().path().starts_with("/api/")
}

/// Answers the requests of one connection until its end, or until others need its place.
async fn converse(stream: TcpStream, place: Place, router: Router, state: Arc<State>, mut stop: watch::Receiver<bool>) {
    // Without it the end of an answer can wait for the client's delayed acknowledgement.
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY: {e}");
    }
    let place = Arc::new(place);
    let stream = TokioIo::new(Patient::new(stream, Arc::clone(&place), state.patience.write));
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        let turn = place.asked(is_for_data(&request));
        let answer = turn.as_ref().ok().map(|turn| {
            request.extensions_mut().insert(turn.clone());
            router.call(request)
        });
        async {
            let (Ok(turn), Some(answer)) = (turn, answer) else { return Ok(ApiError::no_place().into_response()) };
            let answer: Response = answer.await?;
            turn.answering();
            Ok::<_, Infallible>(answer.map(|body| Body::new(TurnBody::new(body, turn))))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(state.patience.header)
        .max_buf_size(BUFFER)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // Dropped as it is.
        () = place.wanted() => return,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!("an HTTP connection ended: {e}");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, and with it the service.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn pass_panic_on(ended: Result<(), JoinError>) {
    if let Err(e) = ended
        && e.is_panic()
    {
        std::panic::resume_unwind(e.into_panic());
    }
}
