//! Known answers, made with OpenLDAP's slappasswd 2.5.13, doveadm pw 2.3.19, openssl passwd, libxcrypt (through Python's
//! crypt), passlib 1.7.4 and the argon2 tool; what is damaged or dear; arbitrary text.

use super::*;
use proptest::prelude::*;

const PASSWORD: &[u8] = b"Tr0ub4dor&3";

const KNOWN: &[&str] = &[
    "Tr0ub4dor&3",
    "{PLAIN}Tr0ub4dor&3",
    "{CLEARTEXT}Tr0ub4dor&3",
    "{cleartext}Tr0ub4dor&3",
    // doveadm pw
    "{SHA}h0Vy56WuaklGamrFeLmK26eMaqY=",
    "{SSHA}hxt/k9wByhU1OI+un7Uh3uyk+9Bff4UM",
    "{SHA256}SEhuFRToQjRv9AWx5F9EBZroJhnyMG+Z0JQNyzhukfc=",
    "{SSHA256}C4C8m8LYRoY8rnFJCxO4jzDXLB1ujRRVkJbvnFGx1rFUfwwB",
    "{SHA512}xyu2IccEDPS2R0BjqaeXJpDiUvNa2+fPr/Wx7iMW7+c4LnI9QeATor+8M8MAfFDFhH0hqInM6DhTbqxyeAjeQA==",
    "{SSHA512}UIcH7kAnjcFOvlZ+YvDp4DWnzEY0YBOn7I0y/XeeaurQqSQukHCkQkocqiA0/CO1RXFy8StYvXjlUE74KZT88EqtTAg=",
    "{SMD5}eHmURKg8vMpV1xOvFhCeVDMNJx8=",
    "{LDAP-MD5}Ts5XphMjtSzP/b7wIZVnVA==",
    "{PLAIN-MD5}4ece57a61323b52ccffdbef021956754",
    "{MD5}Ts5XphMjtSzP/b7wIZVnVA==",
    "{MD5}$1$JOwgLXxL$qRxmfMK6NCrXT46xXrMer0",
    "{MD5-CRYPT}$1$Eksf2t/Q$a979ai3qQQfLNu0A0yQFY1",
    "{SHA256-CRYPT}$5$DSXPlJAqwvjxCouD$HCpjpVUsN2CY32/FWwfPUNgi/G968aZ21cCKPmMFKoD",
    "{SHA512-CRYPT}$6$xETFznxqdNpRijop$svSi2u2aRl8jfwMz.DniERMizN4zHpcfH3xsXfGYUAXuntHfFchV3ZWrEeGVyIKKsMpgupV8/PL3eGUHujyjw0",
    "{BLF-CRYPT}$2y$05$8/.co.tPQjAKohF5MpP1.ukey9YDUN7zYadLS7aticKYfZeiW.Wxa",
    "{DES-CRYPT}WA4eUVLXDEm6Q",
    "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$NDpYoqB7VDJAi1/bYnT8XQ$LdC32XFkyVMHt61O8ecLwkigyuaYKiVk+T2AiVfwjTk",
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$0lZdSB8jIJIL3xOgM9R7Gw$sP2l8es0da9FK++kbqm3vpwEfahsseQ2DlDy02Ic4xM",
    "{PBKDF2}$1$iJ4pvCWgS15R3ZwT$5000$52ca0389df9c26aa453ffa6831215fb138b9e069",
    "{SCRAM-SHA-256}4096,hhYPLEemyUvGgeWQzoqWJw==,GT0WxHT4v1rzrqG/8ZsiM6ZF7JNddgyeACC1nFCP1bI=,hLGIymUJ9RMWcF8QzxHyv0DIievub/U+Fks1C2Wn9MI=",
    "{SCRAM-SHA-1}4096,BpfBzdNOh1ZDPEFUAzdp3g==,2gGUa6yrVQD90MJjBchOPYV55rc=,B7Rgsz9dDahcANCoquSFNySLOR8=",
    "{SHA512.HEX}c72bb621c7040cf4b6474063a9a7972690e252f35adbe7cfaff5b1ee2316efe7382e723d41e013a2bfbc33c3007c50c5847d21a889cce838536eac727808de40",
    "{SSHA256.hex}c4a6707b3e4393ca34391716c019f1c403a0fc26b0dffbe2e9607dbd8619dba5ebecced5",
    // slappasswd
    "{SSHA}zkwLLyYId1HRZ5BIFC2IY2aowXluqINh",
    "{SMD5}4+p4tZ1MJMeIz+uUNc3cbJXV23U=",
    "{SHA384}S0YgjFx8ZkgcVsKrTTB/ePokftZCGzuhXBqTYU7sGTvlwvPQO0GhAkyPMtIxhdoE",
    "{SSHA256}DhXElUtK8ErQt6G4E2w/HgHtJsVqvDXCbZS7JPwTYK3dSGNSukwLUw==",
    "{SSHA384}He3hu0cpO2oZOFu+jqGAcvmkjefwoEApEPy0TTPjWsyytafJIKHWyWH/cU+12pE4UGKcRhBx/3o=",
    "{SSHA512}UFVZYJ1PdVVWZx97KONaREac3pmTmopYYoW6IqkW/dgdiQWSDABgA+mO20FQ6M56CohANbjEPJ8ufFsi+aEmGGy0/Q7BOtt7",
    "{ARGON2}$argon2i$v=19$m=4096,t=3,p=1$hTSeybpJ5AamRdGiC7mVfA$Kpv4S2yo4/3gfhfRwuhyVqnMAcW1qRzuMMVKI8dj2+E",
    "{PBKDF2}10000$iYakx6ANLauDurjiL2FyIQ$JMRl8dyP/V6/T1iFFp0CNhYk5Ts",
    "{PBKDF2-SHA256}10000$nYRp76KjTi8.W3IYINRkRA$p9OAs4Hp2gZ4wz138fh/YlGZJ43Hkgyosqw1qOcrZl8",
    "{PBKDF2-SHA512}10000$HSuHoV3pB12ucrIToCASBQ$mdGmVGdJZ309NcroV5DWz8x.RYclvvb/Dy7lhceLb1TVLJ.GDp/f7Ee9jVdyuGjR4XtAk0VwHYafEf7zviiVtg",
    // passlib
    "{SSHA}LDC6JxvRqZ0bWau2GUkY07OCAqoBYAwB",
    "{PBKDF2}5000$ipGyFkJI6f1/T4nxPgfgXA$E4mwKgOY8U2oC4IOaMxPUOaoFZ8",
    "{PBKDF2-SHA256}5000$vFeqdU4JoXTufS8lROgdww$UJhvIPyzj3kdh5X3Z0H0czre/gOR8BWTlBZJa9UJ0t4",
    "{CRYPT}$pbkdf2-sha256$5000$4DznvNd6b815z9k7h/D.Xw$0JqTDuezvltChbCrmU1nDZbYcT7zUXtKNb4Tx4dDZwI",
    "{CRYPT}$1$UXczoAoD$ZGqeG/wckhoNrbl5JjuoD.",
    "{CRYPT}lq2SOiPe8YUV2",
    "{CRYPT}$6$OkoydRhAetLqPUuX$8akSwUd2FsR8PAGQfnJKQNLb.S44rwfPChkopDMUJPWQnbmxoZJfenNdONZTq8ahdVKUHsgaHQxKQKGT53kvH0",
    // openssl passwd, libxcrypt
    "{CRYPT}$1$ab$FPyWVGc2x83IsQ7.q775k1",
    "{CRYPT}$1$abcdefgh$FErPkDeIHv781e9EexumS.",
    "{CRYPT}$5$ab$S0uPEMdp1nHs/MmB1XVeM1jqyEnhs4z9BZe.08jFlA7",
    "{CRYPT}$6$ab$PGZDwk6d5afcTORaS/SJy4TIhOnd1NrqW/40dCFF0e7voemGjwK2fSMrJmlwxZ.MXgbQhBDXSGNkDWJWLuaGc0",
    "$6$abcdefgh$4U6jebhBw.wRMvkXtOStfkrjBM/.iDeiWvfh4qpnUke7UGqEpD4aifufCgop0XRNXWgsGN1Da9is/9zY7KCTl.",
    "{CRYPT}$6$rounds=1000$saltsaltsalt$cpw5HANMkRpVhG5C7hROYKVFIzmpAiA/Q9MBG83WtEum2StjOghVgd8YznzTvoIUrbSG/raf8zry1pndIWCFL1",
    "{CRYPT}abWL7Sj501Z46",
    "{CRYPT}$y$j9T$F5Jx5fExrKuPp53xLKQ..1$n.pFdveumVbvkIvhVT2m7V3vCOvHL9dASsBq3JUoRgC",
    "{CRYPT}$y$j75$F5Jx5fExrKuPp53xLKQ..1$dST.onYJrUEH63aLg9GzcoAFWcQy/Xw5o1pTg1wwaf/",
    "{CRYPT}$2y$04$abcdefghijklmnopqrstuu5UWyuxawIwQzpnlr0Mft5nu6B9cYh/C",
    // the argon2 tool: version 1.0, two lanes; argon2d
    "$argon2i$v=16$m=1024,t=2,p=2$c29tZXNhbHQ$3xAyPf2lIOytE4LDAubl8EpwjnCyZ5s+wbUQ0xJBsc4",
    "$argon2d$v=19$m=1024,t=2,p=1$c29tZXNhbHQ$T3LqBk07VyAwyFruA6XtsHSqfnLn9szZKWbuKv1eHyA",
];

#[test]
fn known_answers() {
    for secret in KNOWN {
        assert_eq!(verify_secrets([*secret], PASSWORD), Verdict::Match, "{secret}");
        let others: &[&[u8]] = if secret.contains("v=19$m=65536") || secret.contains("$y$j9T") {
            &[b"tr0ub4dor&3", b""]
        } else {
            &[b"tr0ub4dor&3", b"", b"Tr0ub4do", b"x", b"Tr0ub4dor&3\0"]
        };
        // DES compares eight characters.
        let des = secret.ends_with("WA4eUVLXDEm6Q") || secret.len() == "{CRYPT}".len() + 13;
        for other in others.iter().filter(|other| !(des && other.len() == 8)) {
            assert_eq!(
                verify_secrets([*secret], other),
                Verdict::Mismatch,
                "{secret} {other:?}"
            );
        }
        assert_ne!(
            inspect(secret, Form::UserPassword),
            Inspection::Damaged(String::new()),
            "{secret}"
        );
        assert!(
            !matches!(inspect(secret, Form::UserPassword), Inspection::Damaged(_)),
            "{secret}"
        );
    }
}

/// RFC 7677, 3: user `user`, password `pencil`.
#[test]
fn scram_verifiers() {
    let secret = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    assert_eq!(verify_secrets([secret], b"pencil"), Verdict::Match);
    assert_eq!(verify_secrets([secret], b"Pencil"), Verdict::Mismatch);
    assert_eq!(inspect(secret, Form::AuthPassword), Inspection::Good);
    assert!(matches!(inspect("pencil", Form::AuthPassword), Inspection::Damaged(_)));
}

#[test]
fn fresh_secrets_match() {
    for scheme in [Scheme::Argon2id, Scheme::SaltedSha512, Scheme::ScramSha256] {
        let secret = hash("pässword ½", scheme);
        assert_ne!(secret, hash("pässword ½", scheme), "salts differ");
        assert_eq!(inspect(&secret, Form::UserPassword), Inspection::Good);
        assert_eq!(
            verify_secrets([secret.as_str()], "pässword ½".as_bytes()),
            Verdict::Match
        );
        assert_eq!(verify_secrets([secret.as_str()], b"password"), Verdict::Mismatch);
    }
    assert_eq!(cost_class(&hash_for_ldif("x")), cost_class(&Decoy::default().0));
}

#[test]
fn any_of_several_secrets_lets_in() {
    let secrets = [
        "{SHA}AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "{GSSAPI}x",
        "{PLAIN}one",
        "{PLAIN}two",
    ];
    assert_eq!(verify_secrets(secrets, b"two"), Verdict::Match);
    assert_eq!(
        verify_secrets(secrets, b"three"),
        Verdict::Unsupported("{GSSAPI}".into())
    );
    assert_eq!(verify_secrets(secrets, b""), Verdict::Mismatch);
    assert_eq!(verify_secrets([], b"x"), Verdict::Mismatch);
}

#[test]
fn what_is_damaged_or_too_dear_never_matches() {
    for (secret, inspection) in [
        ("", "empty"),
        ("{PLAIN}", "empty"),
        ("{SHA}", "length"),
        ("{SHA}###", "base64"),
        ("{SSHA}AAAA", "length"),
        ("{SHA256}h0Vy56WuaklGamrFeLmK26eMaqY=", "length"),
        ("{CRYPT}", "crypt"),
        ("{CRYPT}*", "crypt"),
        ("{CRYPT}!!", "crypt"),
        ("{CRYPT}$1$$", "$1$"),
        ("{CRYPT}$1$abcdefghi$FErPkDeIHv781e9EexumS.", "$1$"),
        ("{CRYPT}$1$a\u{1}b$FErPkDeIHv781e9EexumS.", "$1$"),
        ("{CRYPT}$6$$", "$6$"),
        ("{CRYPT}$6$rounds=x$a$b", "$6$"),
        ("{CRYPT}$2y$04$", "53 characters"),
        (
            "{CRYPT}$2y$99$abcdefghijklmnopqrstuu5UWyuxawIwQzpnlr0Mft5nu6B9cYh/C",
            "cost of 99",
        ),
        ("{CRYPT}$y$j9T$abc$", "$y$"),
        (
            "{CRYPT}$y$jzzzz$abc$n.pFdveumVbvkIvhVT2m7V3vCOvHL9dASsBq3JUoRgC",
            "$y$jzzzz",
        ),
        (
            "{CRYPT}$y$jFT$abc$n.pFdveumVbvkIvhVT2m7V3vCOvHL9dASsBq3JUoRgC",
            "cannot be checked",
        ),
        (
            "{CRYPT}$y$j9T/.$abc$n.pFdveumVbvkIvhVT2m7V3vCOvHL9dASsBq3JUoRgC",
            "cannot be checked",
        ),
        (
            "{CRYPT}$6$rounds=999999999$saltsaltsalt$cpw5HANMkRpVhG5C7hROYKVFIzmpAiA/Q9MBG83WtEum2StjOghVgd8YznzTvoIUrbSG/raf8zry1pndIWCFL1",
            "999999999 rounds",
        ),
        (
            "{ARGON2}$argon2id$v=19$m=1048576,t=1,p=1$c29tZXNhbHQ$T3LqBk07VyAwyFruA6XtsHSqfnLn9szZKWbuKv1eHyA",
            "m=1048576",
        ),
        (
            "{ARGON2}$argon2id$v=19$m=65536,t=4000000000,p=1$c29tZXNhbHQ$T3LqBk07VyAwyFruA6XtsHSqfnLn9szZKWbuKv1eHyA",
            "t=4000000000",
        ),
        (
            "{ARGON2}$argon2id$v=19$m=8,t=1,p=0$c29tZXNhbHQ$T3LqBk07VyAwyFruA6XtsHSqfnLn9szZKWbuKv1eHyA",
            "argon2",
        ),
        ("{ARGON2}$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$", "argon2"),
        (
            "{ARGON2}$argon2id$v=19$m=8,t=1,p=1$$T3LqBk07VyAwyFruA6XtsHSqfnLn9szZKWbuKv1eHyA",
            "argon2",
        ),
        (
            "{PBKDF2-SHA256}99999999$AAAA$p9OAs4Hp2gZ4wz138fh/YlGZJ43Hkgyosqw1qOcrZl8",
            "99999999 rounds",
        ),
        (
            "{PBKDF2-SHA256}0$AAAA$p9OAs4Hp2gZ4wz138fh/YlGZJ43Hkgyosqw1qOcrZl8",
            "rounds$salt$digest",
        ),
        ("{PBKDF2-SHA256}1$AAAA$", "rounds$salt$digest"),
        ("{SCRAM-SHA-256}4096,AAAA,AAAA,AAAA", "iterations"),
        (
            "{SCRAM-SHA-256}4294967295:AAAA$GT0WxHT4v1rzrqG/8ZsiM6ZF7JNddgyeACC1nFCP1bI=:GT0WxHT4v1rzrqG/8ZsiM6ZF7JNddgyeACC1nFCP1bI=",
            "4294967295 iterations",
        ),
        ("{SASL}alice@EXAMPLE.ORG", "{SASL} cannot be checked"),
        ("{}x", "cannot be checked"),
        ("$argon9$x", "cannot be checked"),
    ] {
        assert_ne!(verify_secrets([secret], b"x"), Verdict::Match, "{secret}");
        assert_ne!(verify_secrets([secret], b""), Verdict::Match, "{secret}");
        match inspect(secret, Form::UserPassword) {
            Inspection::Damaged(text) | Inspection::Doubtful(text) => {
                assert!(text.contains(inspection), "{secret}: {text}")
            }
            Inspection::Good => panic!("{secret} is good"),
        }
    }
}

#[test]
fn odd_passwords_do_not_match_and_do_not_panic() {
    for secret in KNOWN {
        if secret.contains("m=65536") || secret.contains("m=32768") || secret.contains("j9T") {
            continue;
        }
        for password in [
            &[0xff, 0xfe][..],
            &[b'a'; 73],
            &[b'a'; PASSWORD_BYTES_MAX],
            &[b'a'; PASSWORD_BYTES_MAX + 1],
            &[0],
        ] {
            assert_eq!(verify_secrets([*secret], password), Verdict::Mismatch, "{secret}");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_secrets_never_panic(any in any::<String>(), scheme in "\\{(SHA|SSHA|CRYPT|ARGON2|PBKDF2|PBKDF2-SHA256|SCRAM-SHA-256|SMD5|BLF-CRYPT)\\}", value in "[$./=,:a-z0-9]{0,80}") {
        for secret in [any, format!("{scheme}{value}")] {
            let _ = verify_secrets([secret.as_str()], b"x");
        }
    }

    #[test]
    fn cut_or_changed_hashes_never_panic(index in 0..KNOWN.len(), cut in 0..120_usize, at in 0..120_usize, byte in " -~\u{7f}") {
        let secret = KNOWN[index];
        if !(secret.contains("m=65536") || secret.contains("m=32768") || secret.contains("m=4096") || secret.contains("j9T")) {
            let _ = verify_secrets([&secret[..cut.min(secret.len())]], b"x");
            let mut changed = secret.to_owned();
            let at = at.min(changed.len() - 1);
            changed.replace_range(at..=at, &byte);
            // What a changed digit makes dear is not the question here.
            if !changed.contains("=") || changed.contains("{S") {
                let _ = verify_secrets([changed.as_str()], b"x");
            }
        }
    }
}
