//! Phone numbers: checked as E.164 and split into country code and number, as the upstream wants them
//! (`recipientIdentityPhoneNumber`: digits only, no `+`, country code apart).

use crate::domain::Private;

/// One phone number that can get a text message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone {
    country_code: &'static str,
    number: Private<String>,
}

/// Why a text is not a number that can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// No leading `+`.
    #[error("must start with + and the country calling code, as in +4915112345678")]
    NoPlus,
    /// Something else than digits after the `+`.
    #[error("may hold only digits after the +, without blanks, hyphens or brackets")]
    NotDigits,
    /// Fewer than 8 or more than 15 digits (E.164, 6.2).
    #[error("must have 8 to 15 digits")]
    Length,
    /// No country has this calling code.
    #[error("starts with a country calling code that is not assigned")]
    UnknownCountry,
    /// A North American number that starts with 0 or 1 after the country code.
    #[error("is not a number of the North American plan: the area code starts with 2 to 9")]
    NorthAmerica,
}

impl Phone {
    /// Checks an E.164 number and splits it.
    pub fn parse(text: &str) -> Result<Self, PhoneError> {
        let digits = text.strip_prefix('+').ok_or(PhoneError::NoPlus)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PhoneError::NotDigits);
        }
        if !(8..=15).contains(&digits.len()) {
            return Err(PhoneError::Length);
        }
        let country_code = calling_code(digits).ok_or(PhoneError::UnknownCountry)?;
        let number = &digits[country_code.len()..];
        if country_code == "1" && (number.len() != 10 || number.starts_with(['0', '1'])) {
            return Err(PhoneError::NorthAmerica);
        }
        Ok(Self { country_code, number: Private::new(number.to_owned()) })
    }

    /// The country calling code, digits only.
    pub const fn country_code(&self) -> &'static str {
        self.country_code
    }

    /// The rest of the number, digits only.
    pub fn number(&self) -> &str {
        self.number.reveal()
    }
}

/// The calling code that a number starts with. The list is prefix-free, so one match is the only one.
fn calling_code(digits: &str) -> Option<&'static str> {
    (1..=3)
        .filter_map(|length| digits.get(..length))
        .find_map(|prefix| CALLING_CODES.binary_search(&prefix).ok().map(|index| CALLING_CODES[index]))
}

/// Country calling codes in use: ITU-T E.164 assigned country codes (Operational Bulletin 1114 and its
/// amendments), sorted. Codes of services that no phone receives texts on (800, 808, 979) are left out.
const CALLING_CODES: &[&str] = &[
    "1", "20", "211", "212", "213", "216", "218", "220", "221", "222", "223", "224", "225", "226", "227",
    "228", "229", "230", "231", "232", "233", "234", "235", "236", "237", "238", "239", "240", "241", "242",
    "243", "244", "245", "246", "247", "248", "249", "250", "251", "252", "253", "254", "255", "256", "257",
    "258", "260", "261", "262", "263", "264", "265", "266", "267", "268", "269", "27", "290", "291", "297",
    "298", "299", "30", "31", "32", "33", "34", "350", "351", "352", "353", "354", "355", "356", "357",
    "358", "359", "36", "370", "371", "372", "373", "374", "375", "376", "377", "378", "379", "380", "381",
    "382", "383", "385", "386", "387", "389", "39", "40", "41", "420", "421", "423", "43", "44", "45", "46",
    "47", "48", "49", "500", "501", "502", "503", "504", "505", "506", "507", "508", "509", "51", "52", "53",
    "54", "55", "56", "57", "58", "590", "591", "592", "593", "594", "595", "596", "597", "598", "599", "60",
    "61", "62", "63", "64", "65", "66", "670", "672", "673", "674", "675", "676", "677", "678", "679", "680",
    "681", "682", "683", "685", "686", "687", "688", "689", "690", "691", "692", "7", "81", "82", "84",
    "850", "852", "853", "855", "856", "86", "870", "878", "880", "881", "882", "883", "886", "888", "90",
    "91", "92", "93", "94", "95", "960", "961", "962", "963", "964", "965", "966", "967", "968", "970",
    "971", "972", "973", "974", "975", "976", "977", "98", "992", "993", "994", "995", "996", "998",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_split() {
        for (text, country, number) in [
            ("+4915112345678", "49", "15112345678"),
            ("+447700900123", "44", "7700900123"),
            ("+15551234567", "1", "5551234567"),
            ("+35312345678", "353", "12345678"),
            ("+77012345678", "7", "7012345678"),
        ] {
            let phone = Phone::parse(text).unwrap();
            assert_eq!((phone.country_code(), phone.number()), (country, number));
        }
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        for (text, error) in [
            ("4915112345678", PhoneError::NoPlus),
            ("", PhoneError::NoPlus),
            ("+", PhoneError::NotDigits),
            ("+49 151 1234567", PhoneError::NotDigits),
            ("+49151٣٤٥٦٧٨", PhoneError::NotDigits),
            ("+4915", PhoneError::Length),
            ("+4915112345678901", PhoneError::Length),
            ("+21012345678", PhoneError::UnknownCountry),
            ("+10551234567", PhoneError::NorthAmerica),
        ] {
            assert_eq!(Phone::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_list_is_sorted_and_prefix_free() {
        assert!(CALLING_CODES.is_sorted());
        for code in CALLING_CODES {
            let longer = CALLING_CODES.iter().filter(|other| other.starts_with(code)).count();
            assert_eq!(longer, 1, "{code} is a prefix of another");
        }
    }

    #[test]
    fn debug_shows_no_number() {
        assert!(!format!("{:?}", Phone::parse("+4915112345678").unwrap()).contains("151"));
    }
}
