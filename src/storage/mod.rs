//! Stub
#![allow(missing_docs)]
use crate::types::*;
#[derive(Clone, Debug)]
pub struct LogReport {
    pub persisted: WriteSeq,
    pub budget_bytes: u64,
    pub disk_full: bool,
    pub log_size_bytes: u64,
    pub failed: Option<String>,
}
pub fn record_size_bytes(p: usize) -> u64 {
    p as u64 + 64
}
#[derive(Clone, Debug)]
pub struct Recovered {
    pub hard_state: HardState,
    pub base: EntryId,
    pub entries: Vec<EntryMeta>,
}
#[derive(Clone, Debug)]
pub struct RealOs;
#[derive(Clone, Debug)]
pub struct LogReader<O>(O);
impl<O> LogReader<O> {
    pub fn read(&self, _f: LogIndex, _l: LogIndex, _m: usize) -> Result<Vec<Entry>, std::io::Error> {
        todo!()
    }
}
#[derive(Debug)]
pub struct LogThread;
impl LogThread {
    pub fn append(&self, _w: LogWrite) {}
    pub fn shutdown(self) -> Result<(), std::io::Error> {
        Ok(())
    }
}
