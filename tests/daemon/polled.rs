//! Sensors on a serial port that have to be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Daemon, Devices, assert_exactly, expected, modbus_crc, now_micros, wait_for};

const SOON: Duration = Duration::ZERO;

/// An MH-Z19 whose `n`th answer, counted from 0, is `answer(n)` after so long; `None` is none. Counts the questions.
fn mh_z19(answer: impl Fn(usize) -> Option<(Duration, Vec<u8>)> + Send + 'static) -> (Devices, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let respond = move |held: &[u8]| {
        let question = held.get(..9)?;
        assert_eq!(question, [0xFF, 0x01, 0x86, 0, 0, 0, 0, 0, 0x79]);
        Some((9, answer(counted.fetch_add(1, Ordering::AcqRel)).into_iter().collect()))
    };
    (Devices::new(9_600, Box::new(respond)), asked)
}

/// Its answer for so many ppm.
fn ppm(ppm: u16) -> Vec<u8> {
    let [high, low] = ppm.to_be_bytes();
    let sum = 0_u8.wrapping_sub(0x86_u8.wrapping_add(high).wrapping_add(low));
    vec![0xFF, 0x86, high, low, 0, 0, 0, 0, sum]
}

fn section(line: &Devices, format: &str, more: &str) -> String {
    format!("[[serial]]\nname = \"attic\"\nport = \"{}\"\nformat = \"{format}\"\n{more}\n", line.link().display())
}

#[test]
fn an_mh_z19_is_asked_at_its_interval_and_late_wrong_and_missing_answers_are_told() {
    let (line, asked) = mh_z19(|n| match n {
        1 => None,
        2 => {
            let mut wrong = ppm(9_999);
            wrong[8] ^= 0x10;
            Some((SOON, wrong))
        }
        3 => Some((Duration::from_millis(400), ppm(403))),
        n => Some((SOON, ppm(400 + n as u16))),
    });
    let since = now_micros();
    let mut daemon = Daemon::start(&section(&line, "mh-z19", "interval = \"1s\""));
    daemon.wait_stat("/readings/committed", 4);
    wait_for("the misses to be counted", || daemon.source("attic")["unanswered"] == 2);
    assert_eq!(daemon.source("attic")["state"], "up");
    assert_eq!(daemon.reason("dead", "malformed"), 1);
    let stored = daemon.finish();
    let seen = asked.load(Ordering::Acquire);
    let answered = stored.rows.len();
    assert!((seen - 3..=seen - 2).contains(&answered), "{answered} of {seen} questions");
    let values: Vec<u16> = (0..).filter(|n| !matches!(n, 1 | 2)).take(answered).map(|n| 400 + n).collect();
    let all: Vec<_> = values.iter().map(|v| expected("attic", "attic", "co2", None, f64::from(*v))).collect();
    assert_exactly(&stored, since, &all);
    assert!(stored.rows.iter().all(|r| r.unit.as_deref() == Some("ppm")));
    let (first, last) = (stored.rows[0].ts, stored.rows[answered - 1].ts);
    let seconds = (last - first + 500_000) / 1_000_000;
    // Two of the questions in between have got no reading.
    assert!((seconds - (answered as i64 + 1)).abs() <= 1, "{answered} readings in {seconds} s");
}

#[test]
fn a_senseair_s8_is_woken_and_asked() {
    let count = Arc::new(AtomicU32::new(0));
    let woken = Arc::clone(&count);
    let line = Devices::new(
        9_600,
        Box::new(move |held| {
            if held.first() == Some(&0) {
                woken.fetch_add(1, Ordering::AcqRel);
                return Some((1, Vec::new()));
            }
            let question = held.get(..8)?;
            assert_eq!(question, [0xFE, 0x04, 0, 0, 0, 0x04, 0xE5, 0xC6]);
            let mut answer = vec![0xFE, 0x04, 8, 0, 0, 0, 0, 0, 0, 0x01, 0xA1];
            answer.extend(modbus_crc(&answer));
            Some((8, vec![(Duration::from_millis(20), answer)]))
        }),
    );
    let mut daemon = Daemon::start(&section(&line, "senseair-s8", "interval = \"1s\""));
    daemon.wait_stat("/readings/committed", 6);
    let stored = daemon.finish();
    let of = |metric: &str| stored.rows.iter().filter(|r| r.metric == metric).map(|r| r.value).collect::<Vec<_>>();
    assert!(of("co2").len() >= 3 && of("co2").iter().all(|ppm| *ppm == 417.0), "{:?}", of("co2"));
    assert!(of("status").iter().all(|status| *status == 0.0));
    assert_eq!((stored.dead.len(), stored.events.len()), (0, 0));
    assert!(count.load(Ordering::Acquire) >= 3);
}

#[test]
fn a_silent_sensor_is_told_and_taken_again_when_it_speaks() {
    let speaks = Arc::new(AtomicU32::new(0));
    let heard = Arc::clone(&speaks);
    let (line, asked) = mh_z19(move |_| (heard.load(Ordering::Acquire) == 1).then(|| (SOON, ppm(612))));
    let mut daemon = Daemon::start(&section(&line, "mh-z19", "interval = \"1s\"\nsilence = \"2s\""));
    daemon.wait_state("attic", "silent");
    daemon.wait_failing("attic", "silent for longer than its limit");
    wait_for("it to be asked again", || asked.load(Ordering::Acquire) >= 4);
    speaks.store(1, Ordering::Release);
    daemon.wait_state("attic", "up");
    daemon.wait_stat("/readings/committed", 2);
    assert_eq!(daemon.failing(), Vec::<String>::new());
    assert!(daemon.finish().rows.iter().all(|r| r.value == 612.0));
}
