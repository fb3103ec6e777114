//! Which forms of a secret are found, wherever a window begins and ends.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;

use crate::mask::{Follows, MaskedStream, Masker};

fn masker(secrets: &[&str]) -> Masker {
    let named = secrets.iter().enumerate();
    let named = named.map(|(n, secret)| (format!("S{n}"), SecretString::from(*secret)));
    Masker::new(&named.collect::<BTreeMap<_, _>>())
}

fn masked(secrets: &[&str], text: &str) -> String {
    let bytes = masker(secrets).window(text.as_bytes(), false, Follows::Nothing);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn every_known_form_is_masked() {
    let secret = "pa\"ss wörd+1";
    let base64 = STANDARD.encode(secret);
    let with_newline = STANDARD.encode(format!("{secret}\n"));
    for form in [secret, "pa\\\"ss wörd+1", "pa%22ss%20w%C3%B6rd%2B1", &base64, &with_newline] {
        assert_eq!(masked(&[secret], &format!("<{form}|{form}>")), "<***|***>", "{form}");
    }
    assert_eq!(masked(&["  token-1234\n"], "token-1234"), "***");
    assert_eq!(masked(&["", "  "], "nothing to mask"), "nothing to mask");
}

#[test]
fn base64_inside_something_longer_is_masked() {
    let secret = "correct horse battery";
    for before in ["", "a", "ab", "user:"] {
        let encoded = STANDARD.encode(format!("{before}{secret}:after"));
        let shown = masked(&[secret], &encoded);
        assert!(shown.contains("***"), "{shown}");
        assert!(shown.len() < encoded.len() - secret.len(), "{encoded} {shown}");
    }
    let long = "0123456789abcdef".repeat(20);
    let wrapped: Vec<String> = STANDARD
        .encode(&long)
        .as_bytes()
        .chunks(76)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    assert_eq!(masked(&[&long], &wrapped.join("\n")), vec!["***"; wrapped.len()].join("\n"));
}

#[test]
fn lines_of_a_secret_are_masked_alone_if_they_are_long_enough() {
    let key = "-----BEGIN KEY-----\nMIIabcdefgh\nshort\n-----END KEY-----\n";
    assert_eq!(masked(&[key], key), "***");
    assert_eq!(masked(&[key], "  MIIabcdefgh\r\nshort"), "  ***\r\nshort");
}

#[test]
fn overlapping_secrets_leave_no_rest() {
    assert_eq!(masked(&["aaab", "abXY"], "-aaabXY-"), "-***-");
    assert_eq!(masked(&["abc", "abcdef"], "abcdef abcx"), "*** ***x");
    assert_eq!(masked(&["aaaa"], "aaaaaaaaa"), "***");
}

#[test]
fn windows_that_cut_a_secret_show_no_part_of_it() {
    let secret = "Tr0ub4dor&3-is-long";
    let masker = masker(&[secret]);
    let text = format!("before {secret} after");
    for cut in 0..=text.len() {
        let front = masker.window(&text.as_bytes()[..cut], false, Follows::More);
        let back = masker.window(&text.as_bytes()[cut..], cut > 0, Follows::Nothing);
        for shown in [&front, &back] {
            let shown = String::from_utf8_lossy(shown);
            let leaked = (0..secret.len() - 3).any(|at| shown.contains(&secret[at..at + 4]));
            assert!(!leaked, "{cut}: {shown}");
        }
    }
}

#[test]
fn secret_that_a_killed_writer_did_not_finish_is_masked() {
    let masker = masker(&["Tr0ub4dor&3-is-long"]);
    assert_eq!(masker.window(b"key Tr0ub4dor&3", false, Follows::Nothing), b"key ***");
    assert_eq!(masker.window(b"Saint T", false, Follows::Nothing), b"Saint T");
}

/// What comes out of a stream that is cut at these places.
fn streamed(masker: &Masker, text: &[u8], mut cuts: Vec<usize>) -> Vec<u8> {
    let mut stream = MaskedStream::default();
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    let mut out: Vec<u8> =
        cuts.windows(2).flat_map(|pair| stream.push(masker, &text[pair[0]..pair[1]])).collect();
    out.extend(stream.finish(masker));
    out
}

#[test]
fn stream_shows_the_same_wherever_it_is_cut() {
    let cases: [(&[&str], &str); 6] = [
        (&["hunter2-hunter2"], "psql -W hunter2-hunter2 x, aHVudGVyMi1odW50ZXIy, and hunter2-hunt"),
        (&["aaab", "abXY"], "-aaabXY- aaab abXY aaaa"),
        (&["abc", "abcdef", "cde"], "abcdef abcx abcde ab abcabcdefab"),
        (&["aaaa"], "aaaaaaaaa-aaaaaaaaaaaaaaaa-aaa"),
        (&["MIIabcdefgh\nshort\nMIIxyzxyzxyz"], "MIIabcdefgh\r\nshort MIIabcdefgh\nshort\nMIIxyzxyzxyz"),
        (&[], "nothing secret at all"),
    ];
    for (secrets, text) in cases {
        let (masker, text) = (masker(secrets), text.as_bytes());
        let whole = masker.window(text, false, Follows::Nothing);
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let cut = streamed(&masker, text, vec![first, second]);
                let shown = (String::from_utf8_lossy(&cut), String::from_utf8_lossy(&whole));
                assert_eq!(shown.0, shown.1, "{secrets:?} at {first} and {second}");
            }
        }
        assert_eq!(streamed(&masker, text, (0..text.len()).collect()), whole, "{secrets:?} byte by byte");
    }
}

#[test]
fn stream_holds_back_no_more_than_may_be_a_secret() {
    let masker = masker(&["Tr0ub4dor&3"]);
    let mut stream = MaskedStream::default();
    assert_eq!(stream.push(&masker, b"waiting\n"), b"waiting\n");
    assert_eq!(stream.push(&masker, b"key Tr0ub4"), b"key ");
    assert_eq!(stream.push(&masker, b"dor&"), b"");
    assert_eq!(stream.push(&masker, b"3\n"), b"***\n");
    assert_eq!(stream.push(&masker, b"Tr0ub4dor"), b"");
    assert_eq!(stream.finish(&masker), b"***");
}
