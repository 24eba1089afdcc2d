//! Pages of a list: `count` and `start_position`, and the addresses of the pages before and after.
//!
//! Source: SPEC: Templates:list, Users:list, userInformationList. An address that there is none of is empty; the
//! vendor's text says null where its type says string.

use serde_json::{Value, json};

use super::{
    envelopes::model::{Refusal, invalid},
    http::Call,
};

/// The page of `all` that the call asks for, as the member `list`; `at` is the list's own address, and `most` the
/// number of rows in a page.
pub(super) fn page(
    call: &Call,
    at: &str,
    list: &str,
    all: Vec<Value>,
    most: usize,
) -> Result<Value, Refusal> {
    let (start, count) = asked(call, most)?;
    let size = count.unwrap_or(most);
    let total = all.len();
    let rows: Vec<Value> = all.into_iter().skip(start).take(size).collect();
    let end = start.saturating_add(rows.len());
    let next = if end < total { address(call, at, end, count) } else { String::new() };
    let previous =
        if start > 0 { address(call, at, start.saturating_sub(size), count) } else { String::new() };
    Ok(json!({
        "resultSetSize": rows.len().to_string(),
        "totalSetSize": total.to_string(),
        "startPosition": start.to_string(),
        "endPosition": end.saturating_sub(1).to_string(),
        "nextUri": next,
        "previousUri": previous,
        list: rows,
    }))
}

/// The first row that the call asks for, and how many, if it says so: `most` at most.
pub(super) fn asked(call: &Call, most: usize) -> Result<(usize, Option<usize>), Refusal> {
    let start = number(call, "start_position")?.unwrap_or(0);
    let count = number(call, "count")?;
    if count.is_some_and(|count| count == 0 || count > most) {
        let most = if most == usize::MAX { "on".to_owned() } else { format!("to {most}") };
        return Err(invalid(&format!("Query parameter 'count' must be a number from 1 {most}.")));
    }
    Ok((start, count))
}

/// The same question about another part of the list.
fn address(call: &Call, at: &str, start: usize, count: Option<usize>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &call.query {
        if !["count", "start_position"].contains(&name.as_str()) {
            query.append_pair(name, value);
        }
    }
    query.append_pair("start_position", &start.to_string());
    if let Some(count) = count {
        query.append_pair("count", &count.to_string());
    }
    format!("{at}?{}", query.finish())
}

fn number(call: &Call, name: &str) -> Result<Option<usize>, Refusal> {
    let text = call.query(name).filter(|text| !text.is_empty());
    let number = text.map(|text| {
        text.parse().map_err(|_| invalid(&format!("Query parameter '{name}' must be a number.")))
    });
    number.transpose()
}
