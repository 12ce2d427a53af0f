//! Who may call: operators, their roles, and the end of certificates.

use mailmend_policy::name::ServerName;
use mailmend_proto::wire;
use tonic::{Response, Status};

use super::{OperatorService, invalid};
use crate::identity::is_operator_name;
use crate::server::agents::AgentsService;
use crate::store::{NewOperator, OperatorRefused, OperatorRow};
use crate::trust::Named;
use crate::trust::role::Role;

/// How long a token lives where nobody says so, seconds.
const TOKEN_LIFE: u64 = 3600;

/// How long a token may live, from what was asked for.
pub(super) fn token_life(valid_seconds: u64) -> Result<u64, Status> {
    match valid_seconds {
        0 => Ok(TOKEN_LIFE),
        seconds @ 60..=604_800 => Ok(seconds),
        other => Err(invalid(&format!(
            "C088-token-validity: {other} seconds; 60 to 604800 are allowed, 0 is an hour"
        ))),
    }
}

fn role(wanted: i32) -> Result<Role, Status> {
    Role::from_wire(wanted)
        .ok_or_else(|| invalid("C038-request: say the role: viewer, operator, approver or admin"))
}

fn refused(why: OperatorRefused, whom: &Named) -> Status {
    match why {
        OperatorRefused::Exists => Status::already_exists(format!(
            "C155-operator-exists: {whom} is there already; `mailmend operator role` changes its role, `mailmend \
             operator add --again` makes a new token for it"
        )),
        OperatorRefused::Unknown => Status::not_found(format!(
            "C036-not-found: there is no {whom}; `mailmend {} list` shows all",
            whom.kind()
        )),
        OperatorRefused::LastAdmin => Status::failed_precondition(format!(
            "C156-last-admin: {whom} is the only admin who can call: nobody could let anybody in any more; let \
             another admin enrol first"
        )),
    }
}

fn told(row: OperatorRow) -> wire::OperatorIdentity {
    wire::OperatorIdentity {
        name: row.name,
        role: row.role.to_wire().into(),
        added_ms: row.added_ms,
        added_by: row.added_by,
        certificate_until_ms: row.until_ms,
        revocation: row
            .revoked
            .map(|(at_ms, by, why)| wire::Revocation { at_ms, by, why }),
    }
}

impl OperatorService {
    pub(super) async fn operator_named(
        &self,
        name: &str,
    ) -> Result<wire::OperatorIdentity, Status> {
        let rows = self.controller.store().operators().await?;
        rows.into_iter()
            .find(|row| row.name == name)
            .map(told)
            .ok_or_else(|| refused(OperatorRefused::Unknown, &Named::Operator(name.to_owned())))
    }

    pub(super) async fn all_operators(&self) -> Result<wire::ListOperatorsResponse, Status> {
        let rows = self.controller.store().operators().await?;
        Ok(wire::ListOperatorsResponse {
            operators: rows.into_iter().map(told).collect(),
        })
    }

    pub(super) async fn operator_added(
        &self,
        by: String,
        request: wire::AddOperatorRequest,
    ) -> Result<wire::Token, Status> {
        if !is_operator_name(&request.name) {
            return Err(invalid(&format!(
                "C038-request: `{}` cannot be an operator's name: 1 to 63 of a-z A-Z 0-9 - _ . @",
                request.name.escape_debug().take(80).collect::<String>()
            )));
        }
        let role = role(request.role)?;
        let life = token_life(request.valid_seconds)?;
        let whom = Named::Operator(request.name.clone());
        let token = self.authority.fresh_token()?;
        let change = self.change(by, "add-operator", whom.to_string(), format!("as {role}"));
        let expires_ms = change
            .at_ms
            .saturating_add(i64::try_from(life * 1000).unwrap_or(i64::MAX));
        let new = NewOperator {
            name: request.name,
            role,
            hash: self.authority.token_hash(&token),
            expires_ms,
            again: request.again,
        };
        let store = self.controller.store();
        store
            .add_operator(&new, &change)
            .await?
            .map_err(|why| refused(why, &whom))?;
        self.controller.learn_identities().await?;
        Ok(wire::Token {
            token,
            expires_ms,
            ca_pem: self.authority.ca_pem(),
        })
    }

    pub(super) async fn role_set(
        &self,
        by: String,
        request: wire::SetRoleRequest,
    ) -> Result<wire::OperatorIdentity, Status> {
        let role = role(request.role)?;
        let whom = Named::Operator(request.name.clone());
        let change = self.change(by, "set-role", whom.to_string(), format!("to {role}"));
        let store = self.controller.store();
        store
            .set_role(&request.name, role, &change)
            .await?
            .map_err(|why| refused(why, &whom))?;
        self.controller.learn_identities().await?;
        self.operator_named(&request.name).await
    }

    pub(super) async fn identity_revoked(
        &self,
        by: String,
        request: wire::RevokeIdentityRequest,
    ) -> Result<wire::RevokeIdentityResponse, Status> {
        use wire::revoke_identity_request::Who;
        if request.why.trim().is_empty() {
            return Err(invalid(
                "C038-request: say why, for those who find the connection closed",
            ));
        }
        let whom = match request.who {
            Some(Who::Agent(name)) => Named::Agent(
                name.parse::<ServerName>()
                    .map_err(|why| invalid(&format!("C038-request: the agent: {why}")))?,
            ),
            Some(Who::Operator(name)) => Named::Operator(name),
            None => return Err(invalid("C038-request: say whose certificates to end")),
        };
        let change = self.change(by, "revoke-identity", whom.to_string(), request.why);
        let store = self.controller.store();
        let ended = store
            .revoke(&whom, &change)
            .await?
            .map_err(|why| refused(why, &whom))?;
        // Stored: from here on it holds whatever happens to this process or this call.
        let connections = self.controller.learn_identities().await?;
        self.controller.changed();
        Ok(wire::RevokeIdentityResponse {
            certificates: ended.certificates,
            tokens: ended.tokens,
            connections,
        })
    }

    pub(super) async fn operator_renewed(
        &self,
        name: String,
        with: &str,
        csr_pem: &str,
    ) -> Result<Response<wire::Certificate>, Status> {
        let whom = Named::Operator(name);
        AgentsService::renewed(&self.controller, &*self.authority, &whom, with, csr_pem).await
    }
}
