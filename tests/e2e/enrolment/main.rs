//! The log-in of Mobility on a front door of its own, against a RADIUS server that does as it is told.

mod api;
mod bounds;
mod browser;
mod forms;
mod house;
mod whole;
