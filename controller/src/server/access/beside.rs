//! What is served beside the contract: health and reflection.

use super::Who;
use crate::trust::role::Role;

/// A call that is no part of the contract. Whatever of those services is not named here is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Whether the controller works.
    HealthCheck,
    /// The same, told again when it changes.
    HealthWatch,
    /// What there is to call.
    Reflection,
    /// The same, as older tools ask it.
    ReflectionAlpha,
}

impl Beside {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::HealthCheck,
        Self::HealthWatch,
        Self::Reflection,
        Self::ReflectionAlpha,
    ];

    /// Its path in HTTP/2.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::HealthCheck => "/grpc.health.v1.Health/Check",
            Self::HealthWatch => "/grpc.health.v1.Health/Watch",
            Self::Reflection => "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            Self::ReflectionAlpha => {
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
            }
        }
    }

    /// The call at this path.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|call| call.path() == path)
    }

    /// Who may make it: health is for whoever has a certificate, what there is to call for operators. A stranger
    /// learns nothing.
    #[must_use]
    pub const fn who(self) -> Who {
        match self {
            Self::HealthCheck | Self::HealthWatch => Who::Named,
            Self::Reflection | Self::ReflectionAlpha => Who::Operator(Role::Viewer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// A new version of a library that serves one more call turns this red until somebody says who may make it.
    #[test]
    fn every_call_of_health_and_reflection_has_a_row() {
        let sets = [
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut served = BTreeSet::new();
        for set in sets {
            for file in FileDescriptorSet::decode(set).unwrap().file {
                for service in &file.service {
                    for call in &service.method {
                        let name = (file.package(), service.name(), call.name());
                        served.insert(format!("/{}.{}/{}", name.0, name.1, name.2));
                    }
                }
            }
        }
        let known: BTreeSet<String> = Beside::ALL
            .iter()
            .map(|call| call.path().to_owned())
            .collect();
        assert_eq!(served, known);
    }
}
