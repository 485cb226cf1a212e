//! The gateway's store: channel, batch, names, duplicates, receipts, and the clock running along.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use gadwall::reading::Timestamp;

use crate::common::data::START;
use crate::common::feed::Feed;
use crate::{Batch, Contender};

/// The store, and whether its senders give a time.
pub struct Ours {
    feed: Feed,
    timed: bool,
}

impl Ours {
    /// Makes the file `path`.
    pub fn create(path: &Path, timed: bool) -> anyhow::Result<Self> {
        Ok(Self { feed: Feed::open(&Feed::config(path), Timestamp::from_secs(START))?, timed })
    }
}

impl Contender for Ours {
    fn commit(&mut self, batch: &Batch) -> anyhow::Result<Duration> {
        let content = batch.content.clone().context("a batch for the store has contents")?;
        if self.timed {
            return self.feed.commit_live(content);
        }
        if let Some((_, ts, _)) = batch.rows.last() {
            self.feed.pass_until(Timestamp(*ts));
        }
        self.feed.commit_messages(content)
    }

    fn close(self: Box<Self>) -> anyhow::Result<()> {
        self.feed.close()?;
        Ok(())
    }
}
