//! Deadlines as data: machines say when they next want to be called, drivers do the sleeping.

mod deadlines;
mod table;
#[cfg(test)]
pub(crate) mod testing;

pub use deadlines::Deadlines;
pub use table::TimerTable;
