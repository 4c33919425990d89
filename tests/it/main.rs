//! Behaviour through the door: a real server on a free port, real clients, a store in a temporary directory.
//!
//! Nothing sleeps. Time stands still until a test moves it, and nothing is learned until a test says `refresh`.

mod catalog;
mod common;
mod door;
mod feedback;
mod poison;
mod rank;
mod requests;
mod web;
mod windows;
