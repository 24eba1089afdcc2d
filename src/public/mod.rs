//! What browsers and the upstream see: durable links, coming back, the consent page, Connect deliveries.
//!
//! It translates requests to use cases and their outcomes to pages; it holds no rules of the field. A GET or
//! a HEAD of a link changes nothing and mints nothing (rule L1): mail scanners and previews open links, and
//! a view is single use. A token, a nonce or a view URL is never put into a page, a log line or an error,
//! and no address to go to is ever taken from a request (rule L6).
//!
//! | Limit | Value | Where |
//! |---|---|---|
//! | body of a click | 8 KiB, within 10 s | `request` |
//! | patience for a view | 25 s, then a page; the mint goes on | `clicks` |
//! | a double click is known as one for | 30 s, 10,000 clicks | `clicks` |
//! | a click stands in line while the upstream is down | 30 min, 60 s after its page last looked | `clicks` |
//! | views that clicks have made for one signer | 10, then one a minute; 10,000 signers | `signing::click_limit` |
//! | wrong addresses from one network | 60, then one a second; 10,000 networks | `guess_limit` |
//! | codes of consent pages that are exchanged for one network | as many, counted apart | `consent`, `guess_limit` |
//! | senders without consent woken by an answer without our state | 3, then one in 30 s | `consent` |
//! | a direct form's ticket | 60 s, once | `signing::tickets` |
//! | attempts to connect an account, in one browser | 8 cookies of 15 min; the oldest gives way | `pairing` |
//! | a result token | 5 min | `signing::result` |

mod address;
mod answer;
mod clicks;
mod component;
mod consent;
mod deliveries;
mod facts;
mod guess_limit;
mod links;
pub mod pages;
mod pairing;
mod proxies;
mod request;
mod returns;
mod router;
mod situation;

pub use deliveries::deliveries;
pub use proxies::Proxies;
pub use router::{Dependencies, PATHS, Public, Settings, router};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
