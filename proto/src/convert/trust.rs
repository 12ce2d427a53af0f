//! Signed documents: bytes as they are, nothing verified.

use mailmend_trust::{KeyId, Offer, Signature, Signed};

use super::{WireFault, fault};
use crate::wire;

/// What a controller sends, for the agent to judge.
///
/// # Errors
/// Where a key id or a signature has another length than any.
pub fn offer_from_wire(sent: wire::TrustDocuments) -> Result<Offer, WireFault> {
    let roots = sent.roots.into_iter().map(signed_from_wire);
    Ok(Offer {
        roots: roots.collect::<Result<_, _>>()?,
        timestamp: sent.timestamp.map(signed_from_wire).transpose()?,
        catalogue: sent.catalogue.map(signed_from_wire).transpose()?,
    })
}

/// The same, to be sent.
#[must_use]
pub fn offer_to_wire(offer: &Offer) -> wire::TrustDocuments {
    wire::TrustDocuments {
        roots: offer.roots.iter().map(signed_to_wire).collect(),
        timestamp: offer.timestamp.as_ref().map(signed_to_wire),
        catalogue: offer.catalogue.as_ref().map(signed_to_wire),
    }
}

/// A document that came.
///
/// # Errors
/// Where a key id or a signature has another length than any.
pub fn signed_from_wire(sent: wire::SignedDocument) -> Result<Signed, WireFault> {
    let signature = |one: wire::DocumentSignature| {
        let key: [u8; 32] = one.key.as_slice().try_into().map_err(|_| {
            fault(
                "signature.key",
                format!("it has {} bytes, not 32", one.key.len()),
            )
        })?;
        let value: [u8; 64] = one.signature.as_slice().try_into().map_err(|_| {
            fault(
                "signature.signature",
                format!("it has {} bytes, not 64", one.signature.len()),
            )
        })?;
        Ok(Signature {
            key: KeyId::from_bytes(key),
            value,
        })
    };
    Ok(Signed {
        signatures: sent
            .signatures
            .into_iter()
            .map(signature)
            .collect::<Result<_, _>>()?,
        text: sent.text,
    })
}

/// The same, to be sent.
#[must_use]
pub fn signed_to_wire(signed: &Signed) -> wire::SignedDocument {
    let signature = |one: &Signature| wire::DocumentSignature {
        key: one.key.as_bytes().to_vec(),
        signature: one.value.to_vec(),
    };
    wire::SignedDocument {
        text: signed.text.clone(),
        signatures: signed.signatures.iter().map(signature).collect(),
    }
}

#[cfg(test)]
mod tests {
    use mailmend_trust::{Kind, SecretKey};

    use super::*;

    #[test]
    fn documents_go_both_ways_and_what_has_another_length_is_refused() {
        let text = b"kind = \"root\"\n".to_vec();
        let signature = SecretKey::of(&[7; 32]).sign(Kind::Root, &text);
        let signed = Signed {
            text,
            signatures: vec![signature],
        };
        let offer = Offer {
            roots: vec![signed.clone(), Signed::default()],
            timestamp: Some(signed.clone()),
            catalogue: None,
        };
        assert_eq!(offer_from_wire(offer_to_wire(&offer)), Ok(offer));
        let mut short = signed_to_wire(&signed);
        short.signatures[0].key.pop();
        assert!(signed_from_wire(short).is_err());
        let mut long = signed_to_wire(&signed);
        long.signatures[0].signature.push(0);
        assert!(signed_from_wire(long).is_err());
    }
}
