//! Enrolment tokens: shown once, kept only as a hash.

use std::fmt;
use std::str::FromStr;

use super::EnrolFault;
use super::certificate::random;

const PREFIX: &str = "mm_";
const BYTES: usize = 32;

/// A secret that lets one agent enrol once: `mm_` and 64 hexadecimal digits (32 random bytes).
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// What is stored of a token: the BLAKE3 hash of its text. It cannot be used to enrol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash([u8; 32]);

/// A text is not a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not an enrolment token: one begins with `mm_` and has {} characters", PREFIX.len() + 2 * BYTES)]
pub struct NotAToken;

impl Token {
    /// A fresh token.
    ///
    /// # Errors
    /// Where the machine gives no randomness.
    pub fn generate() -> Result<Self, EnrolFault> {
        let hex: String = random::<BYTES>()?
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self(format!("{PREFIX}{hex}")))
    }

    /// What to store of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    /// The secret itself, to be shown once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let text = text.trim();
        let digits = text.strip_prefix(PREFIX).ok_or(NotAToken)?;
        let fits = digits.len() == 2 * BYTES
            && digits
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAToken)
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

impl TokenHash {
    /// The hash of what somebody shows as a token, blanks around it aside. A text that is no token
    /// has one too, which no stored token has.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(*blake3::hash(text.trim().as_bytes()).as_bytes())
    }

    /// The 32 bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash that was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_its_debug_text_keeps_the_secret() {
        let token = Token::generate().unwrap();
        assert_eq!(
            format!(" {}\n", token.expose()).parse::<Token>(),
            Ok(token.clone())
        );
        assert!(!format!("{token:?}").contains(&token.expose()[3..]));
        assert_ne!(Token::generate().unwrap().hash(), token.hash());
    }

    #[test]
    fn what_is_not_a_token_is_refused_before_the_store_is_asked() {
        for text in [
            "",
            "mm_",
            "mm_zz",
            &format!("mm_{}", "A".repeat(64)),
            &"a".repeat(67),
        ] {
            assert_eq!(text.parse::<Token>(), Err(NotAToken), "{text}");
        }
    }
}
