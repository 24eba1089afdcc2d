//! countersign: lets a company website have its visitors sign DocuSign documents, without an account.

pub mod api;
pub mod app;
pub mod audit;
pub mod auth;
pub mod budget;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod demo;
pub mod doctor;
pub mod domain;
pub mod emulator;
pub mod esign;
pub mod events;
pub mod http_client;
pub mod lifecycle;
pub mod listener;
pub mod objects;
pub mod ops;
pub mod pdf;
pub mod public;
pub mod signing;
pub mod store;
pub mod telemetry;
