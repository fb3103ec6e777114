//! Which cells a text has, and which texts are refused.

use std::time::Duration;

use crate::{ParseError, Runbook, parse};

fn names(runbook: &Runbook) -> Vec<&str> {
    runbook.cells.iter().map(|cell| cell.name.as_str()).collect()
}

fn one(fence: &str) -> Result<Runbook, ParseError> {
    parse(&format!("# Title\n\n{fence}\necho hi\n```\n"))
}

/// Why the one cell cannot run: the file can be read all the same.
fn refusal(fence: &str) -> String {
    let runbook = one(fence).unwrap();
    assert_eq!((runbook.cells.len(), runbook.refused.len()), (0, 1), "{fence}");
    runbook.refused[0].problem.to_string()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn named_shell_cells_are_found_in_order() {
    let text = "\u{feff}---\nrunme:\n  version: v3\n---\n# The `title`\n\n\
        ```sh { name=first interactive=false idempotent=true }\r\necho 1\r\necho 2\r\n```\n\
        ```\nno language, no name\n```\n\
        ```bash\necho unnamed\n```\n\
        ```yaml {name=example}\na: 1\n```\n\
        ```js {1,3-4} title=\"x\ny\n```\n\
        ```bash {1,3}\necho highlighted\n```\n\
        <!--\n```sh {name=commented}\necho no\n```\n-->\n\n\
        > ~~~shell {\"name\":\"second\",\"timeout\":\"90s\",\"idempotent\":true}\n> echo \"a\\tb &amp;\"\n> ~~~\n\n\
        1. step\n\n   ````Bash{ name='third' }\n   if true; then\n     echo '```'\n   fi\n   ````\n\n\
        # Another title\n";
    let runbook = parse(text).unwrap();
    assert_eq!(runbook.title.as_deref(), Some("The title"));
    assert_eq!(names(&runbook), ["first", "second", "third"]);
    let [first, second, third] = &runbook.cells[..] else { panic!() };
    assert_eq!(first.source, "echo 1\necho 2\n");
    assert_eq!((first.language.as_str(), first.idempotent), ("sh", true));
    assert_eq!(first.timeout, None);
    assert_eq!(second.source, "echo \"a\\tb &amp;\"\n");
    assert_eq!((second.language.as_str(), second.idempotent), ("shell", true));
    assert_eq!(second.timeout, Some(Duration::from_secs(90)));
    assert_eq!(third.source, "if true; then\n  echo '```'\nfi\n");
    assert_eq!((third.language.as_str(), third.idempotent), ("bash", false));
}

#[test]
fn attributes_are_read_in_either_form() {
    for fence in [
        "```sh {name=x}",
        "```sh { name=x }",
        "```sh { name=\"x\" tag=a,b }",
        "```sh { .class #id name=x }",
        "```sh {\"name\":\"x\"}",
        "```sh {\"name\": \"x\", \"tag\": \"a}b\", \"n\": 1, \"list\": [1]}",
        "```sh {\"id\":\"01\\\"H\",\"name\":\"x\"} title=y",
        "```sh title=y {name=x}",
    ] {
        assert_eq!(names(&one(fence).unwrap()), ["x"], "{fence}");
    }
}

#[test]
fn what_cannot_be_understood_is_refused_with_its_line() {
    for (fence, expected) in [
        ("```sh { name=x", "line 3: malformed attributes: the closing brace is missing"),
        ("```sh { name= }", "line 3: malformed attributes: name= is malformed"),
        (
            "```sh {name=a,idempotent=true}",
            "line 3: malformed attributes: name=a,idempotent=true is malformed",
        ),
        ("```sh { name: \"x\" }", "line 3: malformed attributes: \"name:\" is not of the form key=value"),
        (
            "```sh { name=x idempotent }",
            "line 3: malformed attributes: \"idempotent\" is not of the form key=value",
        ),
        ("```sh { name=\"x }", "line 3: malformed attributes: the quote after name= is not closed"),
        ("```sh { name=x name=y }", "line 3: malformed attributes: name is given twice"),
        ("```sh { name=x idempotent=yes }", "line 3: idempotent=yes is not valid: true or false"),
        ("```sh { name=x timeout=5 }", "line 3: timeout=5 is not valid: a time such as 500ms, 90s, 5m or 1h"),
        (
            "```sh { name=x timeout=0s }",
            "line 3: timeout=0s is not valid: a time such as 500ms, 90s, 5m or 1h",
        ),
        ("```sh {\"name\":\"  \"}", "line 3: name=   is not valid: 1 to 100 characters on one line"),
        ("```sh {name=x manual=maybe}", "line 3: manual=maybe is not valid: true or false"),
        (
            "```sh {name=x manual=true approve=true}",
            "line 3: the cell \"x\" cannot have both manual and approve",
        ),
        (
            "```text {name=x manual=true timeout=5m}",
            "line 3: the cell \"x\" cannot have both manual and timeout",
        ),
        ("```zsh {name=x}", "line 3: the cell \"x\" is in \"zsh\"; use sh, bash or shell"),
        ("``` {name=x}", "line 3: the cell \"x\" is in \"\"; use sh, bash or shell"),
        ("```sh {name=x cwd=/tmp}", "line 3: cwd is not supported"),
        ("```sh {name=x background=true}", "line 3: background is not supported"),
    ] {
        assert_eq!(refusal(fence), expected, "{fence}");
    }
    let json = refusal("```sh {\"name\":x}");
    assert!(json.starts_with("line 3: malformed attributes: not a JSON object"), "{json}");
}

#[test]
fn a_name_that_is_taken_refuses_the_later_cell() {
    let text = "```sh {name=x}\n:\n```\n\n```sh {\"name\":\"x \"}\nfalse\n```\n";
    let runbook = parse(text).unwrap();
    assert_eq!(runbook.cell("x").map(|cell| cell.source.as_str()), Some(":\n"));
    let expected = ParseError::DuplicateName { name: "x ".to_owned(), line: 5, first_line: 1 };
    assert_eq!(runbook.refused[0].problem, expected);
}

#[test]
fn a_name_keeps_its_blanks_and_is_found_without_them() {
    let runbook = one("```sh {\"name\":\"run it \"}").unwrap();
    assert_eq!(names(&runbook), ["run it "]);
    for asked in ["run it ", "run it", " run it"] {
        let chosen = runbook.select(&strings(&[asked]), &[]).unwrap();
        assert_eq!(chosen[0].name, "run it ", "{asked:?}");
    }
    assert_eq!(runbook.select(&[], &strings(&["run it"])), Ok(Vec::new()));
}

#[test]
fn fence_without_end_is_refused() {
    for text in [
        "```sh {name=x}\necho\n\nprose",
        "```sh {name=x}",
        "- ```sh {name=x}\n  a\n\nb\n",
        "````sh {name=x}\n```\n",
    ] {
        let expected = ParseError::Unclosed { name: "x".to_owned(), line: 1 };
        assert_eq!(parse(text).unwrap().refused[0].problem, expected, "{text}");
    }
}

#[test]
fn front_matter_that_changes_shell_or_directory_refuses_every_cell_and_no_manual_step() {
    let read = |key: &str| {
        let cells = "```sh {name=a}\n:\n```\n```text {name=b manual=true}\nLook.\n```\n";
        parse(&format!("---\nrunme:\n  id: x\n{key}\n---\n{cells}")).unwrap()
    };
    for (key, expected) in [
        ("cwd: /tmp", "line 2: cwd: /tmp is not supported"),
        ("shell: zsh", "line 2: shell: zsh is not supported"),
    ] {
        let runbook = read(key);
        assert_eq!(runbook.refused[0].problem.to_string(), expected);
        assert_eq!(names(&runbook), ["b"]);
    }
    assert_eq!(names(&read("shell: /bin/bash")), ["a", "b"]);
}

#[test]
fn a_refused_cell_leaves_the_others_and_refuses_a_choice_of_all() {
    let text = "```sh {name=a}\n:\n```\n```zsh {name=b}\n:\n```\n```sh {name=c interpreter=ruby excludeFromRunAll=true}\n:\n```\n";
    let runbook = parse(text).unwrap();
    assert_eq!(names(&runbook), ["a"]);
    let select = |cells: &[&str]| {
        let chosen = runbook.select(&strings(cells), &[]).map_err(|error| error.to_string())?;
        Ok::<_, String>(chosen.into_iter().map(|cell| cell.name).collect::<Vec<_>>())
    };
    assert_eq!(select(&["a"]), Ok(strings(&["a"])));
    let shell = "line 4: the cell \"b\" is in \"zsh\"; use sh, bash or shell";
    assert_eq!(select(&["b"]), Err(shell.to_owned()));
    assert_eq!(select(&[]), Err(format!("{shell}; name the cells to run, or correct it")));
    // What runs only by name is in nobody's way.
    let runbook = parse(&text.replace("zsh", "bash")).unwrap();
    assert_eq!(runbook.select(&[], &[]).unwrap().len(), 2);
}

#[test]
fn a_prompt_is_no_part_of_a_command() {
    let runbook = parse("```sh {name=x}\n$ echo \"$HOME\"\n  $ no\n$(date)\n```\n").unwrap();
    assert_eq!(runbook.cells[0].source, "echo \"$HOME\"\n  $ no\n$(date)\n");
}

#[test]
fn manual_steps_may_be_prose_and_each_cell_stands_alone() {
    let text = "```text { name=call manual=true }\n$ Call the bank.\n```\n\
        ```sh {name=go approve=true dryRun=true}\n:\n```\n```yaml {name=no}\na: 1\n```\n";
    let runbook = parse(text).unwrap();
    assert_eq!(names(&runbook), ["call", "go"]);
    assert_eq!(runbook.cells[0].source, "$ Call the bank.\n");
    for cell in &runbook.cells {
        assert_eq!(parse(&cell.alone().unwrap()).unwrap().cells, std::slice::from_ref(cell));
    }
    assert!(runbook.runs_dry(&runbook.cells[1]) && !runbook.runs_dry(&runbook.cells[0]));
}

#[test]
fn what_looks_like_a_mistake_is_a_warning() {
    let text = "---\ninput: []\n---\n```sh { name=x idempotant=true }\n:\n```\n```text { manual=true }\nLook.\n```\n";
    let warnings: Vec<String> =
        parse(text).unwrap().warnings.iter().map(|(line, text)| format!("{line}: {text}")).collect();
    assert_eq!(
        warnings,
        [
            "2: the front matter's input is not known and does nothing",
            "4: the attribute idempotant is not known and does nothing",
            "7: a manual step without a name is prose; give it name=…",
        ]
    );
}

#[test]
fn selection_is_by_name_or_all_but_verification() {
    let text = "```sh {name=a}\n:\n```\n```sh {name=b}\n:\n```\n\
        ```sh {name=undo excludeFromRunAll=true}\n:\n```\n```sh {name=check}\n:\n```\n";
    let runbook = parse(text).unwrap();
    let select = |cells: &[&str], verify: &[&str]| {
        let chosen = runbook.select(&strings(cells), &strings(verify))?;
        Ok(chosen.into_iter().map(|cell| cell.name).collect::<Vec<_>>())
    };
    assert_eq!(select(&[], &["check"]), Ok(strings(&["a", "b"])));
    assert_eq!(select(&[], &[]), Ok(strings(&["a", "b", "check"])));
    assert_eq!(select(&["undo", "a", "check"], &["check"]), Ok(strings(&["undo", "a", "check"])));
    for unknown in [select(&["nope"], &[]), select(&[], &["nope"])] {
        let error: ParseError = unknown.unwrap_err();
        assert_eq!(error.to_string(), "no cell \"nope\"; the runbook has a, b, undo, check");
    }
    assert!(runbook.cell("a").is_some());
    assert!(runbook.cell("nope").is_none());
}

#[test]
fn cell_stands_alone_as_it_was_read() {
    let text = "# Title\n\n```sh { name=first idempotent=true timeout=1500ms }\r\necho 1\r\necho 2\r\n```\n\
        > ~~~shell {\"name\":\"a \\\"b\\\" {c} ~~~ ```\",\"excludeFromRunAll\":true}\n> echo \"a\\tb &amp;\"\n> ~~~\n\n\
        1. step\n\n   ````Bash{ name='third' }\n   echo '```'\n   ~~~~~ not a fence\n   ~~~~~~\n   ````\n\n\
        ```sh { name=empty }\n```\n\n\
        ```sh { name=indented }\n    deep\n\n\n  ---\n# heading\n<!--\n```\n";
    let runbook = parse(text).unwrap();
    assert_eq!(runbook.cells.len(), 5);
    for cell in &runbook.cells {
        let alone = cell.alone().unwrap_or_else(|| panic!("{cell:?}"));
        assert_eq!(parse(&alone).unwrap().cells, std::slice::from_ref(cell), "{alone}");
        assert!(alone.len() < cell.source.len() + 100, "{alone}");
    }
}

/// Forms in which runme's own examples are written: every file is read, and every cell that has a name is told of.
#[test]
fn every_form_that_runme_takes_is_read() {
    let seen = |text: &str| {
        let runbook = parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let refused = runbook.refused.iter().map(|one| format!("!{}", one.name));
        runbook.cells.iter().map(|cell| cell.name.clone()).chain(refused).collect::<Vec<_>>().join(" ")
    };
    let front =
        |more: &str| format!("---\n{more}runme:\n  id: 01HF7BT3HCDS1X1WJJHK77GXH9\n  version: v3\n---\n\n");
    let cell = "```sh {\"id\":\"01HF7BT3HCDS1X1WJJHS5YH0Y1\",\"name\":\"where\"}\npwd\n```\n";
    for (text, expected) in [
        // Without a name it is prose, whatever else it says.
        (format!("{}```sh {{\"closeTerminalOnSuccess\":\"false\",\"id\":\"01\",\"terminalRows\":\"15\"}}\n$ ls\n```\n", front("")), ""),
        (format!("{}{cell}", front("")), "where"),
        (format!("{}{cell}", front("skipPrompts: true\n")), "where"),
        (format!("{}{cell}", front("cwd: ../../../\n")), "!where"),
        (format!("{}{cell}```sh {{\"cwd\":\"../\",\"name\":\"up\"}}\npwd\n```\n", front("")), "where !up"),
        (format!("{}{cell}", front("shell: ksh\n")), "!where"),
        (format!("{}{cell}", front("shell: bash\n")), "where"),
        ("---\n{\"runme\":{\"version\":\"v3\"},\"skipPrompts\":true}\n---\n\n```sh {name=json}\nls\n```\n".to_owned(), "json"),
        ("1. Install\n\n   ```bash {name=in-a-list}\n   curl https://example.com |\n     sh\n   ```\n\n> ```\n> a + b\n> ```\n".to_owned(), "in-a-list"),
        ("```sh {name=echo}\n$ echo 1\n$ echo 2\n```\n\n```go {name=hello}\npackage main\n```\n\n    indented\n".to_owned(), "echo"),
        ("```sh { name=spaces category=a,b tag=c interactive=false }\nls\n```\n".to_owned(), "spaces"),
        ("```{\"name\":\"no-language\"}\nls\n```\n".to_owned(), "!no-language"),
    ] {
        assert_eq!(seen(&text), expected, "{text}");
    }
    let prompts = parse("```sh {name=x}\n$ cd .. && grpcurl \\\n    -d x \\\n    host\n```\n").unwrap();
    assert_eq!(prompts.cells[0].source, "cd .. && grpcurl \\\n    -d x \\\n    host\n");
}

/// What a file begins with, and whether it can be read.
fn begun(text: &str) -> Result<Runbook, String> {
    parse(&format!("{text}# Title\n\n```sh {{name=a}}\n:\n```\n")).map_err(|error| error.to_string())
}

#[test]
fn front_matter_stands_at_the_beginning_and_nowhere_else() {
    let inputs = "inputs:\n  - name: COUNT\n";
    let later = "\n---\n## Part two\n---\n\n~~~sh {name=b}\n:\n~~~\n\n---\nnot: yaml: at: all\n---\n";
    for begin in [format!("---\n{inputs}---\n"), format!("\u{feff}\n---\n\n{inputs}...\n")] {
        let text = format!("{begin}# Title\n\n```sh {{name=a}}\n:\n```\n{later}");
        let runbook = parse(&text).unwrap();
        assert_eq!((runbook.inputs.len(), names(&runbook)), (1, vec!["a", "b"]), "{text}");
        assert!(runbook.refused.is_empty() && runbook.title.as_deref() == Some("Title"), "{text}");
    }
    // What is not closed, or does not begin the file, is a rule.
    for begin in ["---\n", "Prose.\n\n---\nshell: zsh\n---\n"] {
        assert_eq!(names(&begun(begin).unwrap()), ["a"], "{begin}");
    }
    let zsh = begun("---\n\nshell: zsh\n---\n").unwrap();
    assert_eq!(zsh.refused[0].problem.to_string(), "line 2: shell: zsh is not supported");
    assert_eq!(zsh.refused[0].line, 7);
}

#[test]
fn front_matter_that_cannot_be_obeyed_refuses_the_file() {
    for (begin, why) in [
        ("---\nshell = \"fish\"\n---\n", "line 2: the front matter is not valid: expected lines such as"),
        ("---\njust prose\n---\n", "expected lines such as `title: Rollback`"),
        (
            "---\n- a\n---\n",
            "expected lines such as `title: Rollback`; a rule at the beginning is drawn as ***",
        ),
        ("+++\nshell = \"zsh\"\n+++\n", "line 2: the front matter is not valid: it is TOML; write YAML"),
        ("---\na: \"b\n---\n", "line 2: the front matter is not valid: "),
    ] {
        let problem = begun(begin).unwrap_err();
        assert!(problem.contains(why), "{begin}: {problem}");
    }
    assert_eq!(names(&begun("---\n# nothing\n---\n").unwrap()), ["a"]);
    let session = begun("---\nrunme:\n  session:\n    id: 01HJS35FZ2K0JBWPVAXPMMVTGN\n---\n").unwrap();
    assert_eq!(
        session.refused[0].problem.to_string(),
        "line 2: runme.session: the record of a session is not supported"
    );
}

#[test]
fn prose_is_no_command_though_a_fence_stands_in_it() {
    let unclosed = ParseError::Unclosed { name: "x".to_owned(), line: 1 };
    for text in [
        "```sh {name=x}\necho a\n\nprose\n\n> ```\n> sample\n> ```\n",
        "```sh {name=x}\necho a\n\nprose\n\n- a\n\n    ```\n",
        "```sh {name=x}\necho a\n```\t\n\nprose\n\n```sh {name=y}\n:\n```\n",
    ] {
        let runbook = parse(text).unwrap();
        assert_eq!((names(&runbook).len(), &runbook.refused[0].problem), (0, &unclosed), "{text}");
    }
    for text in
        ["> ```sh {name=x}\n> :\n> ```\n", "- ~~~~sh {name=x}\n  :\n  ~~~~~ \n", "```sh {name=x}\n```"]
    {
        assert_eq!(names(&parse(text).unwrap()), ["x"], "{text}");
    }
}

#[test]
fn what_might_be_a_step_does_not_vanish() {
    for (fence, name, problem) in [
        ("```text { name=call manual=true oops }", "call", "\"oops\" is not of the form key=value"),
        ("```text {\"name\":\"call\",\"manual\":\"true\",}", "", "not a JSON object"),
        ("```sh {\"name\":\"a\",\"approve\":\"true\",\"approve\":\"false\"}", "a", "approve is given twice"),
        ("```sh {name=echo first= second=2}", "echo", "first= is malformed"),
        ("```shellscript {name=x}", "x", "use sh, bash or shell"),
        ("```console {name=x}", "x", "use sh, bash or shell"),
    ] {
        let refused = &one(fence).unwrap().refused;
        assert_eq!(refused.len(), 1, "{fence}");
        assert_eq!(refused[0].name, name, "{fence}");
        assert!(refused[0].problem.to_string().contains(problem), "{fence}: {}", refused[0].problem);
    }
    assert_eq!(one("```js { title=\"x\" oops }").unwrap().refused, []);
}
