//! Counters as they are named in the column `budgets.account`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::store::Counter;

/// The name of a counter: an account's is its bare id, which has neither a colon nor a blank in it.
pub(in crate::store) fn counter_name(counter: &Counter) -> String {
    match counter {
        Counter::Account(account) => account.as_str().to_owned(),
        Counter::Burst(account) => format!("{account} burst"),
        Counter::Share(caller) => format!("share:{caller}"),
        Counter::Creates(caller) => format!("caller:{caller}"),
        Counter::Key(digest) => format!("create:{}", URL_SAFE_NO_PAD.encode(digest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AccountId, CallerName};

    #[test]
    fn counters_keep_the_names_that_stored_rows_have() {
        let (account, caller) = (AccountId::new("7f09961a"), CallerName::new("website"));
        for (counter, name) in [
            (Counter::Account(account.clone()), "7f09961a"),
            (Counter::Burst(account), "7f09961a burst"),
            (Counter::Share(caller.clone()), "share:website"),
            (Counter::Creates(caller), "caller:website"),
            (Counter::Key([0xfb; 32]), "create:-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s"),
        ] {
            assert_eq!(counter_name(&counter), name);
        }
    }
}
