//! The open connections: what each is doing, and which has to go when there is no place for another.
//!
//! Every connection is accepted. At most `[http] max-connections` of them may have a question for data at work or its
//! answer on the way, of those a quarter with an export; [`SURPLUS`] more are for everybody else, so that health and
//! counters can be asked for at any time. When all are taken the one that is of the least use is closed: see [`Doing`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::metrics::Metrics;

/// Connections beyond those with questions for data.
pub(super) const SURPLUS: usize = 8;
/// A connection is not closed for others before it had this long to send its request: the packet behind the one that
/// opened it.
const GRACE: Duration = Duration::from_millis(10);
/// An answer out of memory that has been on its way for longer is closed when its place is asked for.
const SLOW: Duration = Duration::from_secs(10);
/// Of the places for questions for data, one in so many may have an export.
const EXPORTS: usize = 4;

/// What a connection is doing, in the order in which connections are closed for others; among equal ones the one that
/// has been doing it for longest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    /// It has not sent a whole request yet.
    Asking,
    /// Its requests are answered, and it may send another.
    Idle,
    /// An answer out of memory is on its way to it.
    Answering,
    /// A query is at work for it, which its own limit ends, or an export is on its way: it is not closed for others.
    Served,
}

#[derive(Debug)]
struct Connection {
    doing: Doing,
    since: Instant,
    /// It has one of the places for questions for data.
    data: bool,
    export: bool,
    /// The request is not answered yet, or its answer not made to its end.
    turn: bool,
    close: Arc<Notify>,
}

#[derive(Debug)]
struct Open {
    last_id: u64,
    connections: HashMap<u64, Connection>,
}

/// All open connections.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    open: Mutex<Open>,
    metrics: Arc<Metrics>,
}

/// All places are taken, by those who were there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken;

impl Places {
    /// For so many questions for data at once, at least one.
    pub(super) fn new(most: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        let open = Mutex::new(Open { last_id: 0, connections: HashMap::new() });
        Arc::new(Self { most: most.max(1), open, metrics })
    }

    /// Exports at once.
    pub(super) fn exports(&self) -> usize {
        (self.most / EXPORTS).max(1)
    }

    /// A place for a new connection, for which another may have to be closed.
    ///
    /// # Errors
    /// The time after which to try again: those that could go have not had time to say what they want.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Place, Duration> {
        let now = Instant::now();
        let mut open = self.lock();
        if open.connections.len() >= self.most + SURPLUS {
            let victim = open.connections.iter().filter(|(_, c)| c.doing < Doing::Served);
            // One is always there: only questions for data are served, and there are fewer of them.
            if let Some((&id, victim)) = victim.min_by_key(|(_, c)| (c.doing, c.since)) {
                let age = now.saturating_duration_since(victim.since);
                if let Some(left) = GRACE.checked_sub(age).filter(|left| !left.is_zero())
                    && victim.doing == Doing::Asking
                {
                    return Err(left);
                }
                self.close(&mut open, id);
            }
        }
        open.last_id += 1;
        let id = open.last_id;
        let close = Arc::new(Notify::new());
        let connection = Connection {
            doing: Doing::Asking,
            since: now,
            data: false,
            export: false,
            turn: false,
            close: Arc::clone(&close),
        };
        open.connections.insert(id, connection);
        self.show(&open);
        Ok(Place { id, places: Arc::clone(self), close })
    }

    fn close(&self, open: &mut Open, id: u64) {
        if let Some(connection) = open.connections.remove(&id) {
            connection.close.notify_one();
            self.metrics.http.closed_for_others.inc();
            tracing::debug!(doing = ?connection.doing, "an HTTP connection is closed for another");
        }
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Connection)) {
        // It is not there any more once it was closed for another.
        if let Some(connection) = self.lock().connections.get_mut(&id) {
            change(connection);
        }
    }

    fn show(&self, open: &Open) {
        self.metrics.http.open.set(i64::try_from(open.connections.len()).unwrap_or(i64::MAX));
    }

    // Nothing panics while it is held, so what a poisoned lock guards is whole.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection; it is free again on drop.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    places: Arc<Places>,
    close: Arc<Notify>,
}

impl Place {
    /// Returns when the connection has to go for others.
    pub(super) async fn wanted(&self) {
        self.close.notified().await;
    }

    /// A whole request is there; `data`: it asks for more than health and counters.
    ///
    /// # Errors
    /// [`Taken`]: all places for questions for data are.
    pub(super) fn asked(&self, data: bool) -> Result<Turn, Taken> {
        let now = Instant::now();
        let mut open = self.places.lock();
        if data && open.connections.values().filter(|c| c.data).count() >= self.places.most {
            let slow = open.connections.iter().filter(|(_, c)| {
                c.data && c.doing == Doing::Answering && now.saturating_duration_since(c.since) >= SLOW
            });
            let Some((&slow, _)) = slow.min_by_key(|(_, c)| c.since) else {
                self.places.metrics.http.refused.inc();
                return Err(Taken);
            };
            self.places.close(&mut open, slow);
        }
        if let Some(connection) = open.connections.get_mut(&self.id) {
            connection.doing = if data { Doing::Served } else { Doing::Answering };
            (connection.since, connection.data, connection.turn) = (now, data, true);
        }
        Ok(Turn(Arc::new(Answered { id: self.id, places: Arc::clone(&self.places) })))
    }

    /// All that was made of its answer is with the kernel.
    pub(super) fn flushed(&self) {
        self.places.change(self.id, |connection| {
            if !connection.turn && connection.doing > Doing::Idle {
                (connection.doing, connection.since) = (Doing::Idle, Instant::now());
                (connection.data, connection.export) = (false, false);
            }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.lock();
        open.connections.remove(&self.id);
        self.places.show(&open);
    }
}

/// A request and its answer, until the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Turn(Arc<Answered>);

#[derive(Debug)]
struct Answered {
    id: u64,
    places: Arc<Places>,
}

impl Turn {
    /// The answer is an export: it is read from the store while it is sent, and may take its time.
    ///
    /// # Errors
    /// How many exports may be on their way: so many are.
    pub(super) fn export(&self) -> Result<(), usize> {
        let places = &self.0.places;
        let most = places.exports();
        let mut open = places.lock();
        if open.connections.values().filter(|c| c.export).count() >= most {
            places.metrics.http.refused.inc();
            return Err(most);
        }
        if let Some(connection) = open.connections.get_mut(&self.0.id) {
            connection.export = true;
        }
        Ok(())
    }

    /// The answer has begun.
    pub(super) fn answering(&self) {
        self.0.places.change(self.0.id, |connection| {
            if !connection.export {
                (connection.doing, connection.since) = (Doing::Answering, Instant::now());
            }
        });
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.places.change(self.id, |connection| connection.turn = false);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn places(most: usize) -> Arc<Places> {
        Places::new(most, Arc::default())
    }

    fn is_wanted(place: &Place) -> bool {
        pin!(place.wanted()).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    /// Enters once those that are asking have had their time.
    fn enter(places: &Arc<Places>) -> Place {
        loop {
            match places.enter() {
                Ok(place) => return place,
                Err(wait) => std::thread::sleep(wait),
            }
        }
    }

    fn wanted(all: &[Place]) -> Vec<usize> {
        all.iter().enumerate().filter(|(_, p)| is_wanted(p)).map(|(i, _)| i).collect()
    }

    #[test]
    fn who_has_not_asked_goes_first_then_who_is_idle_then_who_takes_a_small_answer_and_no_one_who_is_served() {
        let places = places(2);
        let mut all: Vec<Place> = (0..2 + SURPLUS).map(|_| enter(&places)).collect();
        // The first two are served, three take an answer, three are idle, and two have not asked.
        let served: Vec<Turn> = all[..2].iter().map(|p| p.asked(true).unwrap()).collect();
        let small: Vec<Turn> = all[2..8].iter().map(|p| p.asked(false).unwrap()).collect();
        drop(small);
        // In another order than they came.
        for i in [7, 5, 6] {
            all[i].flushed();
        }
        let mut order = Vec::new();
        for _ in 0..8 {
            all.push(enter(&places));
            let new = all.len() - 1;
            // It is served at once and stays.
            order.extend(wanted(&all));
            let turn = all[new].asked(false).unwrap();
            turn.0.places.change(all[new].id, |c| c.doing = Doing::Served);
        }
        assert_eq!(order, [8, 9, 7, 5, 6, 2, 3, 4]);
        drop(served);
        assert_eq!(places.metrics.http.closed_for_others.get(), 8);
        assert_eq!(places.metrics.http.open.get(), 10);
    }

    #[test]
    fn a_connection_has_a_moment_to_send_its_request() {
        let places = places(1);
        let all: Vec<Place> = (0..=SURPLUS).map(|_| places.enter().unwrap()).collect();
        let wait = places.enter().unwrap_err();
        assert!(wait <= GRACE, "{wait:?}");
        assert_eq!(wanted(&all), Vec::<usize>::new());
        all[3].asked(false).unwrap();
        all[3].flushed();
        // One that has asked and is idle has had its time; one that has not goes first all the same, once it had.
        let _next = enter(&places);
        assert_eq!(wanted(&all), [0]);
        drop(all);
        assert_eq!(places.metrics.http.open.get(), 1);
    }

    #[test]
    fn questions_for_data_have_places_and_exports_a_quarter_of_them() {
        let places = places(8);
        let all: Vec<Place> = (0..10).map(|_| places.enter().unwrap()).collect();
        let turns: Vec<Turn> = all[..8].iter().map(|p| p.asked(true).unwrap()).collect();
        assert_eq!(all[8].asked(true).unwrap_err(), Taken);
        assert!(all[8].asked(false).is_ok(), "health and counters need none");
        assert_eq!((turns[0].export(), turns[1].export(), turns[2].export()), (Ok(()), Ok(()), Err(2)));
        turns.iter().for_each(Turn::answering);
        assert_eq!(all[9].asked(true).unwrap_err(), Taken, "no answer has taken long");
        for (place, ago) in [(&all[0], 30), (&all[4], 10), (&all[5], 11)] {
            let since = Instant::now().checked_sub(Duration::from_secs(ago)).unwrap();
            places.change(place.id, |c| c.since = since);
        }
        all[9].asked(true).unwrap();
        assert_eq!(wanted(&all), [5], "the slowest answer out of memory, and no export");
        // An export has its place until its last byte is with the kernel.
        drop(turns);
        assert_eq!(all[8].asked(true).unwrap().export(), Err(2));
        all[1].flushed();
        assert_eq!(all[8].asked(true).unwrap().export(), Ok(()));
        assert_eq!(places.metrics.http.refused.get(), 4);
    }
}
