//! Lists of envelopes (`GET envelopes`), which show those of an account, whoever made them.
//!
//! Callers that share an account see in a list that an envelope of another caller's is there, and what DocuSign tells of
//! each unasked: its status, dates and subject. What a query asks for besides (`include`: the recipients with their access
//! codes and numbers, their fields, our signing's id) is what the envelope itself would tell, which does not exist for
//! them; and what finds or sorts envelopes by their recipients answers questions about these. So where signings are kept of
//! another caller that has a right to the account, or that the settings no longer name, a list takes parameters alone that
//! are known to tell no more. All others it takes if it names its envelopes, and each of them is the caller's own or of
//! no signing: in the one way of writing that no reader takes for another list.
//!
//! Another caller's envelope does not exist under `envelope_ids` either, whatever is asked of it. And if the caller's own
//! have been quiet for long, we look at them in the place of the list, for which there is one right in 15 minutes
//! (`polling_budget`): its answer would go to the caller alone, and the signings would never end here. Those that cannot be
//! looked at, because their sender cannot act or acts in another account by now, have no list refused.

use url::form_urlencoded;

use super::{envelope_id, known_account, owned};
use crate::{
    api::{Problem, caller::Caller, router::Api},
    clock::Deadline,
    domain::{AccountId, CallerName, SenderName},
    esign::{self, MAX_LISTED},
    signing,
};

/// Refuses a list that would tell of other callers' envelopes what these themselves do not tell this caller, or before which
/// we had to look at its own signings.
pub(super) async fn check(
    api: &Api,
    caller: &Caller,
    account: &AccountId,
    query: Option<&str>,
    deadline: Deadline,
) -> Result<(), Problem> {
    let asked = Asked::read(query.unwrap_or_default());
    if asked.tells_more && !asked.is_by_ids && holds_others(api, caller, account).await? {
        return Err(tells_more());
    }
    let named = esign::named_in_list(query);
    if named.len() > MAX_LISTED {
        return Err(too_many(named.len()));
    }
    if named.is_empty() {
        return Ok(());
    }
    owned(api, caller, account, &named, deadline).await?;
    let looked = api.signings.look_before(&named, deadline.left(api.clock.uptime())).await;
    looked.map_err(|error| match error {
        signing::Error::PollingBudget { retry_at } => looked_instead().at(retry_at),
        error => error.into(),
    })
}

/// For each of them it is found out whose it is, and all are asked about by one list if they are quiet.
fn too_many(named: usize) -> Problem {
    let detail = format!("envelope_ids names {named} envelopes, and a list takes {MAX_LISTED} at most");
    Problem::new("invalid_request", detail).fix(format!("List them {MAX_LISTED} at a time."))
}

fn looked_instead() -> Problem {
    let detail = "a signing whose envelope this list names had not been asked about for long, so DocuSign was asked about \
                  it in the place of the list, and may be asked so once in 15 minutes";
    let fix =
        "Read the signing (GET /v1/signings/{id}): it has what was answered. Or repeat the list at retry_at.";
    Problem::new("polling_budget", detail).fix(fix)
}

fn tells_more() -> Problem {
    let detail = "signings are kept of other callers that have a right to this account, or may have had one, and the list \
                  would tell more of their envelopes than that they are there: with include, search_text, \
                  continuation_token, order_by=signer_list, or a parameter that is not known here";
    let fix = "List without it, and read each envelope of your own by its id (GET …/envelopes/{id}?include=…); or name \
               them in the list: envelope_ids with include, order, order_by, count and start_position alone.";
    Problem::new("forbidden", detail).fix(fix)
}

/// Whether signings of another caller are kept that may be in this account: it has a right to it, or is not in the settings
/// any more. In which accounts the envelopes of such a caller are is not looked up: that might be a look at every one of them.
async fn holds_others(api: &Api, caller: &Caller, account: &AccountId) -> Result<bool, Problem> {
    let kept = api.signings.callers().await?;
    let mut others = kept.iter().filter(|other| **other != caller.name);
    Ok(others.any(|other| !api.callers.knows(other) || may_act(api, other, account)))
}

/// Whether a caller may act in this account. Where a sender acts that was not used since the start is not known, unless its
/// account is named by its id: it may be here.
fn may_act(api: &Api, caller: &CallerName, account: &AccountId) -> bool {
    let is_here = |sender: &SenderName| match known_account(api, sender) {
        Some(known) => known == *account,
        // One that nobody has connected acts nowhere.
        None => !api.pairings.is_connectable(sender.as_str()),
    };
    let is_theirs = |sender: &SenderName| match api.pairings.made(sender) {
        Some(made) => made.owner == *caller,
        None => api.callers.may_use(caller, sender),
    };
    let mut senders = api.auth.senders().into_iter().map(SenderName::new);
    senders.any(|sender| is_here(&sender) && is_theirs(&sender))
}

/// What a query asks of a list.
#[derive(Debug)]
struct Asked {
    /// Whether it may tell more of an envelope than a plain list does.
    tells_more: bool,
    /// Whether every reader takes it for a list of the envelopes alone that it names.
    is_by_ids: bool,
}

impl Asked {
    fn read(query: &str) -> Self {
        let (mut tells_more, mut is_by_ids, mut lists) = (false, true, 0);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            tells_more |= !is_plain(&name, &value);
            match &*name {
                "envelope_ids" => {
                    lists += 1;
                    is_by_ids &= value.split(',').all(|id| envelope_id(id).is_ok());
                }
                "count" | "include" | "order" | "order_by" | "start_position" => {}
                // It may widen the list, or stand in the place of the ids.
                _ => is_by_ids = false,
            }
        }
        Self { tells_more, is_by_ids: is_by_ids && lists == 1 }
    }
}

/// Whether a parameter is known to have a list tell no more of an envelope than a plain one does. Source:
/// Envelopes:listStatusChanges in the vendor's file (read in mid 2026); what is reserved there for the vendor is not known.
fn is_plain(name: &str, value: &str) -> bool {
    match name.to_ascii_lowercase().as_str() {
        "ac_status"
        | "count"
        | "custom_field"
        | "email"
        | "envelope_ids"
        | "exclude"
        | "folder_ids"
        | "folder_types"
        | "from_date"
        | "from_to_status"
        | "include_purge_information"
        | "intersecting_folder_ids"
        | "last_queried_date"
        | "order"
        | "powerformids"
        | "start_position"
        | "status"
        | "to_date"
        | "transaction_ids"
        | "user_filter"
        | "user_id"
        | "user_name" => true,
        "include" => value.trim().is_empty(),
        // By it one's own envelopes, with names that one has chosen, would find their places among the others.
        "order_by" => !value.to_ascii_lowercase().contains("signer"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "3c5fc6a7-5172-4e0d-9b1f-0a1b2c3d4e5f";

    #[test]
    fn only_parameters_that_are_known_to_tell_no_more_make_a_plain_list() {
        let tells_more = |query: &str| Asked::read(query).tells_more;
        for plain in [
            "",
            "from_date=2020-01-01&to_date=2020-01-02&status=completed&count=10&start_position=10&order=desc",
            "FROM_DATE=2020-01-01&order_by=last_modified",
            "from_date=2020-01-01&include=",
            "transaction_ids=x&folder_types=sentitems&custom_field=order%3D1",
        ] {
            assert!(!tells_more(plain), "{plain}");
        }
        for more in [
            "include=recipients",
            "include=tabs&from_date=2020-01-01",
            "Include=custom_fields",
            "%69nclude=documents",
            "include=&include=folders",
            "include=what_comes_next_year",
            "search_text=ada",
            "continuation_token=x",
            "order_by=signer_list",
            "order_by=Created,Signer_List",
            "include_recipients=true",
            "cdse_mode=x",
        ] {
            assert!(tells_more(more), "{more}");
        }
    }

    #[test]
    fn only_ids_in_their_one_spelling_with_nothing_that_widens_the_list_are_a_list_by_ids() {
        let is_by_ids = |query: &str| Asked::read(query).is_by_ids;
        let other = "4c5fc6a7-5172-4e0d-9b1f-0a1b2c3d4e5f";
        for whole in [
            format!("envelope_ids={ONE}"),
            format!("envelope_ids={ONE},{other}&include=recipients,tabs&count=2"),
            format!("include=recipients&envelope_ids={}%2C{other}", ONE.to_ascii_uppercase()),
        ] {
            assert!(is_by_ids(&whole), "{whole}");
        }
        for other in [
            String::new(),
            "include=recipients".to_owned(),
            "envelope_ids=".to_owned(),
            format!("envelope_ids={ONE},"),
            format!("envelope_ids={ONE},x"),
            format!("envelope_ids={}", ONE.replace('-', "")),
            format!("envelope_ids=%7B{ONE}%7D"),
            format!("Envelope_Ids={ONE}"),
            format!("envelope_ids={ONE}&envelope_ids={other}"),
            format!("envelope_ids={ONE}&from_date=2020-01-01"),
            format!("envelope_ids={ONE}&transaction_ids={other}"),
            format!("envelope_ids={ONE}&search_text=ada"),
        ] {
            assert!(!is_by_ids(&other), "{other}");
        }
    }
}
