//! Completions, loaded into the shell that people have.

use std::process::Command;

use crate::support::{Done, program};

/// Loads the completions into a bash, puts the cursor at the end of `line`, and says what is offered.
fn offered(line: &str) -> Vec<String> {
    let script = r#"
        set -eu
        source <("$KLAMM" completions bash)
        # `complete -p klamm` prints how it is registered: complete -F FUNCTION … klamm
        read -ra registered < <(complete -p klamm)
        for index in "${!registered[@]}"; do
            [ "${registered[index]}" != -F ] || function=${registered[index + 1]}
        done
        read -ra COMP_WORDS <<<"$LINE"
        [ "${LINE% }" = "$LINE" ] || COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        COMP_LINE=$LINE COMP_POINT=${#LINE}
        before=
        [ "$COMP_CWORD" -eq 0 ] || before=${COMP_WORDS[COMP_CWORD - 1]}
        # It may end with the status of its last test, which means nothing.
        "$function" klamm "${COMP_WORDS[COMP_CWORD]}" "$before" || true
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let bash = Command::new("bash")
        .args(["--norc", "--noprofile", "-c", script])
        .env("KLAMM", program())
        .env("LINE", line)
        .output()
        .unwrap();
    Done::from(bash).good().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_flags() {
    assert_eq!(offered("klamm prod"), ["produce"]);
    assert_eq!(offered("klamm topic de"), ["describe", "delete"]);
    assert_eq!(offered("klamm consume orders --stop-"), ["--stop-at-end"]);
    let all = offered("klamm ");
    for command in ["server", "doctor", "quorum", "completions"] {
        assert!(all.iter().any(|one| one == command), "{command} is not in {all:?}");
    }
}
