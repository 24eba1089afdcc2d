//! The outbox: the visitor's phone, as far as a demo can have one.

use maud::{Markup, html};

use super::{Place, clock_time, shell};
use crate::demo::outbox::Message;

/// How often the page looks for new messages.
const REFRESH_S: u32 = 3;

/// The page, newest message first; `None`: the emulator did not answer.
pub(crate) fn outbox(messages: Option<&[Message]>) -> Markup {
    shell(
        Place::Elsewhere,
        "SMS outbox",
        Some(REFRESH_S),
        &html! {
            h1 { "SMS outbox" }
            div class="notice wait" {
                p { strong { "Demo only. " } "This is what the visitor’s phone would show. No message is sent to anyone; the page looks for new ones every " (REFRESH_S) " seconds." }
            }
            div class="phone" {
                section class="screen" aria-label="Text messages" {
                    h2 { "Messages" }
                    @match messages {
                        None => p class="quiet" role="alert" { "The emulator does not answer." },
                        Some([]) => p class="quiet empty" { "No messages yet. Press “Send me a code” on the signing page." },
                        Some(messages) => ol class="sms" { @for message in messages { (bubble(message)) } },
                    }
                }
            }
        },
    )
}

fn bubble(message: &Message) -> Markup {
    html! {
        li {
            p class="to num" { "To " (message.to) " · " time datetime=(message.at) { (clock_time(message.at)) } }
            div class="bubble" {
                p class="code" { (message.code) }
                p class="small" { (message.text) }
            }
        }
    }
}
