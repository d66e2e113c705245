//! LDIF (RFC 2849): content records as a source of control data.
