//! placeholder of the lead
use std::sync::{Arc,RwLock};
use super::catalog::Catalog;
#[derive(Clone)]
pub struct Reader{}
pub struct Paused{}
impl Reader { pub fn new(_c:&duckdb::Connection,_g:Arc<RwLock<Catalog>>)->duckdb::Result<Self>{Ok(Self{})} pub fn pause(&self)->Paused{Paused{}} }
