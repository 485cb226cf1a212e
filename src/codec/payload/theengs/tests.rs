use super::*;
use crate::codec::payload::listed::{lines, message, message_at};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/payloads/", $name))
    };
}

fn decoded(topic: &str, payload: &[u8]) -> Vec<String> {
    lines(&Theengs::new().decode(&message(topic, payload)))
}

const NONE: [&str; 0] = [];

#[test]
fn the_fixtures_are_what_their_documentation_says() {
    let cases: [(&str, &[u8], &[&str]); 6] = [
        (
            "home/OpenMQTTGateway/BTtoMQTT/4C33A6603C79",
            fixture!("openmqttgateway/01-ble-mihum.json"),
            &["4C:33:A6:60:3C:79 humidity 52.6 % - hum", "4C:33:A6:60:3C:79 temperature 19.2 degC - tempc"],
        ),
        (
            "home/OpenMQTTGateway/CLIMAtoMQTT/ds1820/0x28616411907650bc",
            fixture!("openmqttgateway/02-ds1820.json"),
            &["0x28616411907650bc temperature 27.8 degC - temp"],
        ),
        (
            "home/OpenMQTTGateway/BTtoMQTT/45E174126E00",
            fixture!("openmqttgateway/04-beacon.json"),
            &["45:E1:74:12:6E:00 distance 21.51847 m - -", "45:E1:74:12:6E:00 rssi -89 dBm - -"],
        ),
        (
            "home/OpenMQTTGateway/BTtoMQTT/58782076BC24",
            fixture!("openmqttgateway/05-ibeacon-random-mac.json"),
            &[
                "1de4b189115e45f6b44e509352269977 rssi -79 dBm - -",
                "1de4b189115e45f6b44e509352269977 tx_power -66 dBm - txpower",
            ],
        ),
        (
            "home/TheengsGateway/BTtoMQTT/F35285",
            fixture!("theengs/01-tempodisc.json"),
            &[
                "F3:52:85 dew_point 24.8 degC - dp",
                // More than there can be, and what the sender sent.
                "F3:52:85 humidity 104.7 % - hum",
                "F3:52:85 rssi -82 dBm - -",
                "F3:52:85 temperature 24.1 degC - tempc",
                "F3:52:85 voltage 2.56 V - volt",
            ],
        ),
        (
            "home/TheengsGateway/BTtoMQTT/112233445566",
            fixture!("theengs/02-apple.json"),
            &[
                "11:22:33:44:55:66 distance 0.033417 m - -",
                "11:22:33:44:55:66 rssi -42 dBm - -",
                "11:22:33:44:55:66 unlocked 0 - - -",
            ],
        ),
    ];
    for (topic, payload, expected) in cases {
        assert_eq!(decoded(topic, payload), expected);
        assert!(recognises(&message(topic, payload)), "{topic}");
    }
}

#[test]
fn random_addresses_do_not_become_nodes() {
    let of = |payload: &str| decoded("home/OMG/BTtoMQTT/58782076BC24", payload.as_bytes());
    // The same beacon behind two addresses; others of its owner by their numbers.
    let beacon = |id: &str, minor: u8| {
        of(&format!(
            r#"{{"id":"{id}","mac_type":1,"rssi":-1,"model_id":"IBEACON","uuid":"1DE4B189-115E-45F6-B44E-509352269977","major":0,"minor":{minor}}}"#
        ))
    };
    assert_eq!(beacon("58:78:20:76:BC:24", 0), ["1de4b189115e45f6b44e509352269977 rssi -1 dBm - -"]);
    assert_eq!(beacon("52:10:A8:46:90:AC", 0), beacon("58:78:20:76:BC:24", 0));
    assert_eq!(beacon("52:10:A8:46:90:AC", 7), ["1de4b189115e45f6b44e509352269977/0/7 rssi -1 dBm - -"]);
    // A public address is its own.
    let public = r#"{"id":"AC:23:3F:A0:00:01","mac_type":0,"rssi":-1,"model_id":"IBEACON","uuid":"fda50693a4e24fb1afcfc6eb07647825","major":10065,"minor":26049}"#;
    assert_eq!(of(public), ["AC:23:3F:A0:00:01 rssi -1 dBm - -"]);
    // So is a random one that stays.
    assert_eq!(of(r#"{"id":"F4:1F:0C:28:CB:D6","mac_type":1,"rssi":-1}"#), ["F4:1F:0C:28:CB:D6 rssi -1 dBm - -"]);
    // Phones, and what is not decoded.
    for payload in [
        r#"{"id":"58:78:20:76:BC:24","mac_type":1,"rssi":-1}"#,
        r#"{"id":"58:78:20:76:BC:24","rssi":-1,"model_id":"APPLEDEVICE","unlocked":true}"#,
        r#"{"id":"18:78:20:76:BC:24","mac_type":1,"rssi":-1,"model_id":"GAEN"}"#,
    ] {
        assert_eq!(of(payload), NONE, "{payload}");
    }
    // A sensor behind a private address.
    assert_eq!(
        of(r#"{"id":"58:78:20:76:BC:24","mac_type":1,"model_id":"XYZ","tempc":20}"#),
        ["XYZ temperature 20 degC - tempc"]
    );
    // The topic or the id is the UUID.
    let by_id = r#"{"id":"1de4b189115e45f6b44e509352269977","mac_type":1,"rssi":-78,"model_id":"IBEACON","uuid":"1de4b189115e45f6b44e509352269977","major":0,"minor":0,"mac":"60:87:57:4C:9B:C2"}"#;
    assert_eq!(of(by_id), ["1de4b189115e45f6b44e509352269977 rssi -78 dBm - -"]);
}

#[test]
fn names_and_units_of_the_decoders() {
    for (field, expected) in [
        (r#""lux":120"#, "N illuminance 120 lx - lux"),
        (r#""moi":"33""#, "N soil_moisture 33 % - moi"),
        (r#""fer":350"#, "N conductivity 350 uS/cm - fer"),
        (r#""batt":97"#, "N battery 97 % - batt"),
        (r#""volt":2.9"#, "N voltage 2.9 V - volt"),
        (r#""volt":2900"#, "N voltage 2.9 V - volt"),
        (r#""pres":1013.2"#, "N pressure 1013.2 hPa - pres"),
        (r#""model_id":"TPMS","pres":2.25"#, "N pressure 2250 hPa - pres"),
        (r#""tempf":"212""#, "N temperature 100 degC - tempf"),
        (r#""tempc2":21.5,"tempf2":70.7"#, "N temperature_2 21.5 degC - tempc2"),
        (r#""temp":212,"unit":"F""#, "N temperature 100 degC - temp"),
        (r#""accx":9.80665"#, "N acceleration_x 1 g - accx"),
        (r#""pm25":12"#, "N pm2_5 12 ug/m3 - pm25"),
        (r#""pa":101325"#, "N pressure 1013.25 hPa - pa"),
        (r#""weight":150,"unit":"lb""#, "N weight 68.038856 kg - -"),
        (r#""open":true"#, "N open 1 - - -"),
        (r#""presence":"absent""#, "N presence 0 - - -"),
        (r#""steps":412"#, "N steps 412 - - -"),
        (r#""button":"single""#, "!N button single -"),
        (r#""state":"offline""#, "!N availability offline -"),
        (r#""hum":"nan""#, ""),
        (r#""servicedata":"1234567890","manufacturerdata":"99","mfid":"4400""#, ""),
        (r#""unixtime":1700000000,"hum":50"#, "N humidity 50 % 2023-11-14T22:13:20Z hum"),
        (r#""UTCtime":"2023-11-14T22:13:20Z","hum":50"#, "N humidity 50 % 2023-11-14T22:13:20Z hum"),
    ] {
        let payload = format!(r#"{{"id":"N",{field}}}"#);
        let expected: Vec<&str> = Some(expected).filter(|text| !text.is_empty()).into_iter().collect();
        assert_eq!(decoded("home/G/BTtoMQTT/N", payload.as_bytes()), expected, "{field}");
    }
}

#[test]
fn the_other_modules() {
    let cases: [(&str, &str, &[&str]); 15] = [
        (
            "home/G/LORAtoMQTT/AABBCCDDEEFF",
            r#"{"id":"AA:BB:CC:DD:EE:FF","rssi":-16,"snr":9.25,"pferror":-3598,"packetSize":9,"tempc":"55.3"}"#,
            &[
                "AA:BB:CC:DD:EE:FF rssi -16 dBm - -",
                "AA:BB:CC:DD:EE:FF snr 9.25 dB - -",
                "AA:BB:CC:DD:EE:FF temperature 55.3 degC - tempc",
            ],
        ),
        (
            "home/G/LORAtoMQTT",
            r#"{"rssi":-121,"snr":-11.75,"pferror":-29116,"packetSize":3,"hex":"C0FFEE"}"#,
            &["G/LORA rssi -121 dBm - -", "G/LORA snr -11.75 dB - -"],
        ),
        (
            "home/G/LORAtoMQTT",
            r#"{"rssi":-50,"from":"123ABC","to":"000000","message":"Hi from WiPhone","type":"WiPhone"}"#,
            &["123ABC rssi -50 dBm - -", "!123ABC message Hi from WiPhone -"],
        ),
        ("home/G/433toMQTT", r#"{"value":1315156,"protocol":1,"length":24,"delay":317}"#, &["!G code 1315156 -"]),
        ("home/G/IRtoMQTT", r#"{"value":"0xF7C03F","protocol":3,"bits":32}"#, &["!G code 0xF7C03F -"]),
        (
            "home/G/CLIMAtoMQTT/htu",
            r#"{"tempc":25.34064,"tempf":77.61314,"hum":56.53052}"#,
            &["G/htu humidity 56.53052 % - hum", "G/htu temperature 25.34064 degC - tempc"],
        ),
        (
            "home/G/DHTtoMQTT",
            r#"{"temp":21,"hum":51}"#,
            &["G/DHT humidity 51 % - hum", "G/DHT temperature 21 degC - temp"],
        ),
        ("home/G/GPIOInputtoMQTT", r#"{"gpio":"HIGH"}"#, &["G/GPIOInput gpio 1 - - -"]),
        (
            "home/G/RTL_433toMQTT/Acurite-Tower/A/1",
            r#"{"model":"Acurite-Tower","id":1,"channel":"A","battery_ok":1,"temperature_C":20.5,"protocol":"Acurite","rssi":-70,"duration":121}"#,
            &[
                "Acurite-Tower/A/1 battery_ok 1 - - -",
                "Acurite-Tower/A/1 duration 121 - - -",
                "Acurite-Tower/A/1 rssi -70 dB - -",
                "Acurite-Tower/A/1 temperature 20.5 degC - temperature_C",
            ],
        ),
        ("home/G/RTL_433toMQTT", r#"{"model":"status","protocol":"debug","rssi":-38}"#, &[]),
        (
            "home/G/SYStoMQTT",
            r#"{"uptime":60405,"version":"v1.6.0","env":"lilygo","freemem":115572,"mqttport":"1883","tempc":57.77778,"rssi":-39,"SSID":"X","ip":"10.0.0.1","modules":["WebUI"]}"#,
            &[
                "G freemem 115572 - - -",
                "G rssi -39 dBm - -",
                "G device_temperature 57.77778 degC - tempc",
                "G uptime 60405 s - -",
            ],
        ),
        ("home/G/LWT", "online", &["!G availability online -"]),
        ("home/TheengsGateway/LWT", r#"{"state":"offline"}"#, &["!TheengsGateway availability offline -"]),
        ("home/G/BTtoMQTT", r#"{"bleconnect":true,"interval":55555,"scanbcnct":10}"#, &[]),
        ("home/G/BTtoMQTT/undecoded", r#"{"id":"54:94:5E:9F:64:C4","rssi":-74,"manufacturerdata":"4c00"}"#, &[]),
    ];
    for (topic, payload, expected) in cases {
        assert_eq!(decoded(topic, payload.as_bytes()), expected, "{topic}");
    }
    assert_eq!(decoded("home/G/commands/MQTTtoBT/config", b"{\"interval\":0}"), NONE);
    assert_eq!(decoded("home/G/version", b"v1.6.0"), NONE);
    assert!(decoded("home/G/BTtoMQTT/AABBCCDDEEFF", b"{\"hum\":")[0].starts_with("?malformed EOF"));
    assert_eq!(decoded("home/G/BTtoMQTT/AABBCCDDEEFF", b"[]"), ["?malformed expected a JSON object"]);
}

#[test]
fn a_presence_topic_repeats_the_signal() {
    let mut format = Theengs::new();
    let payload = br#"{"id":"AC:23:3F:A0:00:01","rssi":-60,"distance":1.5,"mac_type":0}"#;
    let mut count = |topic: &str, at: f64| format.decode(&message_at(topic, payload, at)).readings.len();
    assert_eq!(count("home/G/BTtoMQTT/AC233FA00001", 1_760_000_000.0), 2);
    assert_eq!(count("home/home_presence/G", 1_760_000_000.1), 0);
    assert_eq!(count("home/G/BTtoMQTT/AC233FA00001", 1_760_000_060.0), 2);
    // Alone it is told.
    let mut alone = Theengs::new();
    let heard = message("home/presence/TheengsGateway", payload);
    assert!(recognises(&heard));
    assert_eq!(alone.decode(&heard).readings.len(), 2);
}

#[test]
fn others_are_not_taken() {
    for (topic, payload) in [
        ("tele/plug/LWT", "Online"),
        ("zigbee2mqtt/x", r#"{"temperature":20}"#),
        ("rtl_433/raspi/events", r#"{"model":"X","id":1,"time":"1"}"#),
        ("v3/a@t/devices/d/up", r#"{"end_device_ids":{"device_id":"d"}}"#),
        ("ruuvi/A/B", r#"{"gw_mac":"C8:25:2D:8E:9C:2C","rssi":-1,"data":"00"}"#),
    ] {
        assert!(!recognises(&message(topic, payload.as_bytes())), "{topic}");
    }
    assert!(recognises(&message("home/TheengsGateway/F35285", fixture!("theengs/01-tempodisc.json"))));
}
