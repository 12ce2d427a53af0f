//! Certificates: what ours say, and what is read back from them.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};

use super::{AUTHORITY_VALIDITY, CLOCK_SKEW, EnrolFault, signing};

pub(super) enum Purpose {
    Client,
    Server,
}

pub(super) fn authority_params(now_ms: i64) -> Result<CertificateParams, EnrolFault> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("mailmend authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_from_now(&mut params, now_ms, AUTHORITY_VALIDITY);
    params.serial_number = Some(serial()?);
    Ok(params)
}

pub(super) fn leaf(
    uri: &str,
    name: &str,
    purpose: Purpose,
    now_ms: i64,
    validity: Duration,
) -> Result<CertificateParams, EnrolFault> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match purpose {
        Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(signing)?)];
    params.use_authority_key_identifier_extension = true;
    valid_from_now(&mut params, now_ms, validity);
    params.serial_number = Some(serial()?);
    Ok(params)
}

pub(super) fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

pub(super) fn valid_from_now(params: &mut CertificateParams, now_ms: i64, validity: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = epoch + Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + validity;
}

/// 16 random bytes, positive and of full length, so that no two certificates share one.
pub(super) fn serial() -> Result<SerialNumber, EnrolFault> {
    let mut bytes = random::<16>()?;
    bytes[0] = (bytes[0] & 0x3f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

pub(super) fn serial_text(params: &CertificateParams) -> String {
    let bytes = params
        .serial_number
        .as_ref()
        .map(SerialNumber::to_bytes)
        .unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same of a certificate that was made, as [`crate::identity::identify`] reads it.
pub(super) fn serial_of(pem: &str) -> Result<String, String> {
    let der = der_of(pem)?;
    let (_, found) = x509_parser::parse_x509_certificate(&der).map_err(|why| why.to_string())?;
    Ok(found.tbs_certificate.serial.to_str_radix(16))
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], EnrolFault> {
    let mut bytes = [0; N];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| EnrolFault::Signing("the machine gave no randomness".to_owned()))?;
    Ok(bytes)
}

pub(super) const fn millis(seconds: i64) -> i64 {
    seconds.saturating_mul(1000)
}

pub(super) fn der_of(pem: &str) -> Result<Vec<u8>, String> {
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|why| why.to_string())?;
    Ok(pem.contents)
}

pub(super) fn validity_of(pem: &str) -> Result<(i64, i64), String> {
    let der = der_of(pem)?;
    let (_, found) = x509_parser::parse_x509_certificate(&der).map_err(|why| why.to_string())?;
    let validity = found.validity();
    Ok((
        millis(validity.not_before.timestamp()),
        millis(validity.not_after.timestamp()),
    ))
}

pub(super) fn belongs(pem: &str, key: &KeyPair) -> Result<bool, String> {
    let der = der_of(pem)?;
    let (_, found) = x509_parser::parse_x509_certificate(&der).map_err(|why| why.to_string())?;
    Ok(found.public_key().subject_public_key.data.as_ref() == key.public_key_raw())
}

/// Whether `pem` carries the name and key identifier of this authority; TLS verifies the signature.
pub(super) fn signed_by(pem: &str, ca_pem: &str) -> bool {
    let (Ok(leaf), Ok(ca)) = (der_of(pem), der_of(ca_pem)) else {
        return false;
    };
    let (Ok((_, leaf)), Ok((_, ca))) = (
        x509_parser::parse_x509_certificate(&leaf),
        x509_parser::parse_x509_certificate(&ca),
    ) else {
        return false;
    };
    let identifier = |found: &x509_parser::certificate::X509Certificate<'_>, own: bool| {
        found
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(key) if !own => {
                    key.key_identifier.as_ref().map(|id| id.0.to_vec())
                }
                x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) if own => {
                    Some(id.0.to_vec())
                }
                _ => None,
            })
    };
    let ours = identifier(&ca, true);
    ours.is_some() && identifier(&leaf, false) == ours
}
