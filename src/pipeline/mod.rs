//! Between the sources and the store: the bounded channel, and the batch that becomes one commit.

mod batch;
mod intake;

pub use batch::Batch;
pub use intake::{Carried, Closed, Intake, Item, Notice, Outlet, Refused, channel};
