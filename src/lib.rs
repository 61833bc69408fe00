//! packhorse: Heroku-like deploys in your own AWS account, and on your laptop.
//!
//! Arrows point inward: `cli` asks `context`, `runner` and `orchestrator` use `ports`, `ports` speak `domain`.
//! Only `context` names concrete adapters. `docs/architecture.md` has the picture.

pub mod adapters;
pub mod cli;
pub mod context;
pub mod domain;
pub mod env_vars;
pub mod flags;
pub mod image;
pub mod lifecycle;
pub mod orchestrator;
pub mod ports;
pub mod runner;
pub mod session;
pub mod ui;
pub mod up;
