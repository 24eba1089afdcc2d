//! The documentation of results keeps its word: its listings are run, in every language, on a result that
//! the daemon made and on others that it did not make. A language that is not here is skipped, and said so;
//! never in CI, where `tests/run` installs them all.

use std::{
    path::Path,
    process::{Command, Output},
};

use countersign::api::openapi::results::LISTINGS;
use http::Method;
use serde_json::{Value, json};

use crate::{
    harness::{TempDir, TestDaemon, order},
    left_out::leave_out,
};

/// How a listing is run: what calls it, under what name, by what.
struct Language {
    name: &'static str,
    program: &'static [&'static str],
    file: &'static str,
    /// After the listing.
    call: &'static str,
    /// Beside it.
    beside: &'static [(&'static str, &'static str)],
}

const LANGUAGES: [Language; 4] = [
    Language {
        name: "Python",
        program: &["python3"],
        file: "verify.py",
        call: "\nimport sys\nkeys = json.load(open(sys.argv[1]))\n\
               print(json.dumps(verify_result(sys.argv[3], keys, sys.argv[2], int(sys.argv[4]))))\n",
        beside: &[],
    },
    Language {
        name: "Node",
        program: &["node"],
        file: "verify.mjs",
        call: "\nimport { readFileSync } from \"node:fs\";\nconst [keys, caller, token, now] = process.argv.slice(2);\n\
               console.log(JSON.stringify(verifyResult(token, JSON.parse(readFileSync(keys)), caller, Number(now))));\n",
        beside: &[],
    },
    Language {
        name: "PHP",
        program: &["php", "-d", "display_errors=stderr"],
        file: "verify.php",
        call: "\n[, $keys, $caller, $token, $now] = $argv;\n\
               echo json_encode(verify_result($token, json_decode(file_get_contents($keys), true), $caller, (int) $now));\n",
        beside: &[],
    },
    Language {
        name: "Go",
        program: &["go", "run", "."],
        file: "result/verify.go",
        call: "",
        beside: &[
            ("go.mod", "module verify\n\ngo 1.18\n"),
            (
                "main.go",
                "package main\n\nimport (\n\t\"encoding/json\"\n\t\"os\"\n\t\"strconv\"\n\t\"time\"\n\n\t\"verify/result\"\n)\n\n\
                 func main() {\n\tvar keys result.Keys\n\ttext, _ := os.ReadFile(os.Args[1])\n\tjson.Unmarshal(text, &keys)\n\
                 \tnow, _ := strconv.ParseInt(os.Args[4], 10, 64)\n\
                 \tclaims, err := result.Verify(os.Args[3], keys, os.Args[2], time.Unix(now, 0))\n\
                 \tif err != nil {\n\t\tpanic(err)\n\t}\n\tjson.NewEncoder(os.Stdout).Encode(claims)\n}\n",
            ),
        ],
    },
];

#[tokio::test]
async fn f2_every_listing_takes_our_results_and_no_others() {
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    let link = made.body["signers"][0]["link"]["url"].as_str().unwrap();
    let facts = daemon.call(Method::GET, &format!("{link}/facts"), None, &[], Vec::new()).await;
    let token = facts.body["result"].as_str().unwrap().to_owned();
    let keys = daemon.get("/.well-known/jwks.json").await.text;
    let now = 1_780_315_200_i64; // The test's clock: 2026-06-01T12:00:00Z.
    let [head, body, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let refused = [
        ("another caller", "somebody-else", token.clone(), now),
        ("a day later", "website", token.clone(), now + 86_400),
        ("a changed claim", "website", format!("{head}.{}.{signature}", changed(body)), now),
        ("a changed signature", "website", format!("{head}.{body}.{}", flipped(signature)), now),
        ("no signature", "website", format!("{head}.{body}."), now),
        ("no algorithm", "website", format!("{}.{body}.", without_algorithm(head)), now),
        ("cut short", "website", format!("{head}.{body}"), now),
        ("nothing", "website", String::new(), now),
        ("a fourth part", "website", format!("{token}.{signature}"), now),
    ];
    for language in &LANGUAGES {
        let folder = TempDir::new();
        write(language, &folder.0, &keys);
        let run = |caller: &str, token: &str, now: i64| run(language, &folder.0, caller, token, now);
        let Some(good) = run("website", &token, now) else { continue };
        assert!(good.status.success(), "{}: {}", language.name, String::from_utf8_lossy(&good.stderr));
        let claims: Value = serde_json::from_slice(&good.stdout).unwrap();
        assert_eq!(
            (&claims["sub"], &claims["status"]),
            (&json!(made.id()), &json!("ready")),
            "{}",
            language.name
        );
        for (what, caller, token, now) in &refused {
            let bad = run(caller, token, *now).unwrap();
            assert!(!bad.status.success() && bad.stdout.is_empty(), "{}: {what} was taken", language.name);
        }
    }
}

fn write(language: &Language, folder: &Path, keys: &str) {
    let (_, listing) = LISTINGS.iter().find(|(name, _)| *name == language.name).expect("it is shown");
    let file = folder.join(language.file);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, format!("{listing}{}", language.call)).unwrap();
    for (name, text) in language.beside {
        std::fs::write(folder.join(name), text).unwrap();
    }
    std::fs::write(folder.join("keys.json"), keys).unwrap();
}

/// None if the language is not here, and nobody insists on it.
fn run(language: &Language, folder: &Path, caller: &str, token: &str, now: i64) -> Option<Output> {
    let mut command = Command::new(language.program[0]);
    command.args(&language.program[1..]).current_dir(folder);
    if language.beside.is_empty() {
        command.arg(language.file);
    }
    let output = command.args(["keys.json", caller, token, &now.to_string()]).output();
    let lacks_library =
        |output: &Output| String::from_utf8_lossy(&output.stderr).contains("No module named 'cryptography'");
    match output {
        Ok(output) if !lacks_library(&output) => Some(output),
        _ => {
            leave_out(&format!("{} is not here, or lacks what its listing needs", language.name));
            None
        }
    }
}

fn decoded(part: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn encoded(text: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(text)
}

fn changed(body: &str) -> String {
    encoded(&decoded(body).replace("\"status\":\"ready\"", "\"status\":\"completed\""))
}

fn without_algorithm(head: &str) -> String {
    encoded(&decoded(head).replace("EdDSA", "none"))
}

fn flipped(signature: &str) -> String {
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("{first}{}", &signature[1..])
}
