//! Weights and averages in PyTorch's files of all kinds: found by name wherever they are, or refused by name.

use crate::interop::{folder, refuse, succeed, tweedie};
use crate::pickler::{Pickler, Py, dict};
use crate::support::tiny_with;
use std::io::Cursor;
use tweedie::config::Config;
use tweedie::interop::{Foreign, Imported, InteropError, Note, read_safetensors_bytes, read_score_sde_from};
use tweedie::nn::{Registry, State};

/// A small network, with averages that are not its weights.
fn small() -> (Config, Registry, State) {
    let set = [
        "model.ch_mult=[1]",
        "model.attn_resolutions=[]",
        "model.name=ncsnpp",
        "model.embedding_type=fourier",
    ];
    let more = ["training.continuous=true", "training.sde=vesde", "model.attn_up_each=false"];
    let (config, registry, state) = tiny_with(&[&set[..], &more].concat());
    assert_eq!(registry.frozen.len(), 1);
    let ema = state.raw.iter().map(|values| values.iter().map(|v| 0.5 - v).collect()).collect();
    (config, registry, State { ema, ..state })
}

/// Which of a state's arrays.
#[derive(Clone, Copy, PartialEq)]
enum Which {
    Raw,
    Averages,
}
use Which::{Averages, Raw};

/// The state's tensors by name, each after a prefix; frozen ones only among the raw weights.
fn named(which: Which, prefix: &str) -> Py {
    let (_, registry, state) = small();
    let trained = if which == Raw { &state.raw } else { &state.ema };
    let frozen = registry.frozen.iter().zip(&state.frozen).filter(|_| which == Raw);
    let all = frozen.chain(registry.trainable.iter().zip(trained));
    let tensor = |(spec, values): (&tweedie::nn::ParameterSpec, &Vec<f32>)| {
        (format!("{prefix}{}", spec.name), Py::Tensor(spec.layout.file_shape(), values.clone()))
    };
    Py::Dict(all.map(tensor).collect())
}

/// The averages in the order of the parameters.
fn listed() -> Vec<Py> {
    match named(Averages, "") {
        Py::Dict(pairs) => pairs.into_iter().map(|(_, value)| value).collect(),
        _ => Vec::new(),
    }
}

fn pairs(of: Py) -> Vec<(String, Py)> {
    match of {
        Py::Dict(pairs) => pairs,
        _ => Vec::new(),
    }
}

/// A dictionary with the pairs of both.
fn both(one: Py, other: Py) -> Py {
    Py::Dict([pairs(one), pairs(other)].concat())
}

fn read(value: &Py) -> Result<Imported, InteropError> {
    read_score_sde_from(Cursor::new(Pickler::of(value).archive()), &small().1)
}

fn refused(value: &Py) -> String {
    read(value).map(drop).expect_err("refused").to_string()
}

/// Checks that both weights and averages are read, and that nothing is to be said.
fn whole(what: &str, value: &Py) {
    let expected = small().2;
    for (form, bytes) in [("zip", Pickler::of(value).archive()), ("legacy", Pickler::of(value).legacy())] {
        let read = read_score_sde_from(Cursor::new(bytes), &small().1);
        let Imported { state, notes } = read.unwrap_or_else(|e| panic!("{what}, {form}: {e}"));
        assert!(state.raw == expected.raw && state.frozen == expected.frozen, "{what}, {form}");
        assert!(state.ema == expected.ema, "{what}, {form}: averages");
        assert_eq!(notes, [], "{what}, {form}");
    }
}

#[test]
fn weights_and_averages_are_found_by_name_at_any_depth_and_behind_any_prefix() {
    let list = || Py::List(listed());
    whole("score_sde", &dict([("model", named(Raw, "module.")), ("ema", dict([("shadow_params", list())]))]));
    for prefix in ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.model.", "net.score."]
    {
        let value = dict([("model", named(Raw, prefix)), ("model_ema", named(Averages, ""))]);
        whole(prefix, &value);
        let value = dict([("net", named(Raw, "")), ("ema_state_dict", named(Averages, prefix))]);
        whole(prefix, &value);
    }
    whole(
        "shadow",
        &dict([("model_state_dict", named(Raw, "")), ("ema", dict([("shadow", named(Averages, ""))]))]),
    );
    whole(
        "deep",
        &dict([(
            "state",
            dict([("a", dict([("state_dict", named(Raw, "m.")), ("EMA", named(Averages, "m."))]))]),
        )]),
    );
    whole(
        "ema of all",
        &dict([("ema_all", dict([("model", named(Raw, "")), ("ema", named(Averages, ""))]))]),
    );
    let kept = dict([("ema", named(Averages, "")), ("exp_avg", named(Raw, ""))]);
    whole("averages of an optimiser", &dict([("model", named(Raw, "")), ("optimizer", kept)]));
    whole("a bare list", &dict([("state_dict", named(Raw, "")), ("ema", list())]));
    whole("Lightning", &dict([("state_dict", both(named(Raw, "model."), named(Averages, "model_ema.")))]));
    whole(
        "averaged model",
        &dict([("model", named(Raw, "")), ("averagedModel", named(Averages, "module."))]),
    );
    let lucidrains = both(named(Raw, "online_model."), named(Averages, "ema_model.module."));
    whole("lucidrains's wrapper", &dict([("ema", lucidrains.clone())]));
    whole("the same and the model", &dict([("model", named(Raw, "")), ("ema", lucidrains)]));
    let backup = dict([("shadow_params", list()), ("collected_params", Py::List(listed()))]);
    whole("torch_ema", &dict([("model", named(Raw, "")), ("ema", backup)]));
    // Some programs list the frozen parameters, too.
    let all = [vec![Py::Tensor(vec![2], vec![0.0; 2])], listed()].concat();
    whole(
        "all parameters",
        &dict([("model", named(Raw, "")), ("ema", dict([("shadow_params", Py::List(all))]))]),
    );
    let states = |last: Py| {
        Py::List(vec![
            named(Raw, "module."),
            dict([("state", dict([])), ("param_groups", Py::List(vec![]))]),
            Py::Int(3),
            Py::Int(700),
            last,
        ])
    };
    whole("NCSNv2", &states(named(Averages, "")));
    assert_eq!(read(&states(named(Averages, ""))).expect("a state").state.step, 700);
    assert!(refused(&states(without_last(named(Averages, "")))).contains("the averages at 4 lack"));
    // A number beside the weights is a counter.
    let counted = both(
        named(Raw, ""),
        dict([
            ("num_batches_tracked", Py::Tensor(vec![], vec![3.0])),
            ("sigmas", Py::Tensor(vec![2], vec![1.0; 2])),
        ]),
    );
    whole(
        "counters",
        &dict([
            ("model", counted),
            ("ema", both(named(Averages, "module."), dict([("n_averaged", Py::Tensor(vec![1], vec![9.0]))]))),
        ]),
    );
}

fn without_last(of: Py) -> Py {
    let mut pairs = pairs(of);
    pairs.pop();
    Py::Dict(pairs)
}

#[test]
fn only_a_file_without_averages_has_none() {
    let expected = small().2;
    let model = || named(Raw, "module.");
    for (what, value) in [
        ("bare", named(Raw, "")),
        ("nested", dict([("a", dict([("b", model())]))])),
        ("none", dict([("model", model()), ("ema", Py::None), ("ema_rate", Py::Float(0.999))])),
        (
            "empty",
            dict([("model", model()), ("ema", dict([("decay", Py::Float(0.9)), ("shadow", dict([]))]))]),
        ),
        ("states", Py::List(vec![model(), dict([]), Py::Int(3), Py::Int(700)])),
    ] {
        let Imported { state, notes } = read(&value).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(state.raw == expected.raw && state.ema == expected.raw, "{what}");
        assert_eq!(notes, [Note::NoAverages], "{what}");
    }
    let frozen = || {
        dict([(
            "all_modules.0.W",
            Py::Tensor(small().1.frozen[0].layout.file_shape(), expected.frozen[0].clone()),
        )])
    };
    let Imported { state, notes } =
        read(&dict([("ema", both(named(Averages, ""), frozen()))])).expect("averages");
    assert!(state.raw == expected.ema && state.ema == expected.ema && state.frozen == expected.frozen);
    // A file of one set of weights is one of raw weights, whatever it calls them.
    assert_eq!(notes, [Note::OnlyAverages]);
}

#[test]
fn averages_that_are_incomplete_or_in_an_unknown_form_are_refused_by_name() {
    let last = small().1.trainable.last().expect("a parameter").name.clone();
    let with = |key: &str, ema: Py| dict([("model", named(Raw, "module.")), (key, ema)]);
    for key in ["ema", "model_ema", "shadow"] {
        let message = refused(&with(key, without_last(named(Averages, "module."))));
        assert!(
            message.contains(&last) && message.contains(&format!("the averages at {key}.module")),
            "{message}"
        );
    }
    let message = refused(&with("ema", dict([("shadow_params", Py::List(listed()[1..].to_vec()))])));
    assert!(message.contains("ema.shadow_params") && message.contains("tensors"), "{message}");
    // Under other names, in one array, or in an object.
    let (other, flat) = (Py::Tensor(vec![2, 2], vec![0.0; 4]), Py::Tensor(vec![9], vec![0.0; 9]));
    for (ema, name) in [
        (dict([("layer1.weight", other)]), "ema.layer1.weight"),
        (flat, "ema"),
        (Py::Code(b"cmine\nEMA\n)R".to_vec()), "ema"),
    ] {
        let message = refused(&with("ema", ema));
        assert!(message.contains("in a form that is not known") && message.contains(name), "{message}");
    }
    // An average of another shape, and one that is no tensor but what code would make.
    let mut changed = pairs(named(Averages, ""));
    changed[0].1 = Py::Tensor(vec![1], vec![0.0]);
    let message = refused(&with("ema", Py::Dict(changed.clone())));
    assert!(message.contains("average") && message.contains("shape [1]"), "{message}");
    changed[0].1 = Py::Code(b"cos\nsystem\nX\x04\x00\x00\x00true\x85R".to_vec());
    let message = refused(&with("ema", Py::Dict(changed)));
    assert!(message.contains("os.system") && message.contains("no code is run"), "{message}");
}

#[test]
fn weights_in_two_places_are_refused_by_name_unless_they_are_the_same() {
    let two = |one: Py, other: Py| dict([("model", one), ("best_model", other)]);
    let message = refused(&two(named(Raw, ""), named(Averages, "")));
    assert!(message.contains("model") && message.contains("best_model"), "{message}");
    let message = refused(&dict([
        ("net", named(Raw, "")),
        ("ema_0.99", named(Averages, "")),
        ("ema_0.9", named(Raw, "")),
    ]));
    assert!(message.contains("ema_0.99") && message.contains("ema_0.9"), "{message}");
    // The same dictionary twice, by the pickle's memo.
    let mut p = Pickler { pickle: b"\x80\x02}(X\x01\x00\x00\x00a".to_vec(), storages: Vec::new() };
    let inner = Pickler::of(&named(Raw, ""));
    p.storages = inner.storages;
    p.pickle.extend(&inner.pickle[2..inner.pickle.len() - 1]);
    p.pickle.extend(b"q\x00X\x01\x00\x00\x00bh\x00u.");
    let state = read_score_sde_from(Cursor::new(p.archive()), &small().1).expect("a state").state;
    assert!(state.raw == small().2.raw);
    // A prefix that not all names have.
    let mut mixed = pairs(named(Raw, ""));
    let half = mixed.len() / 2;
    mixed[..half].iter_mut().for_each(|(name, _)| *name = format!("module.{name}"));
    let message = refused(&dict([("model", Py::Dict(mixed))]));
    assert!(message.contains("lack") && message.contains(" of "), "{message}");
    let message = refused(&dict([("model", without_last(named(Raw, "")))]));
    assert!(message.contains(&small().1.trainable.last().expect("one").name), "{message}");
    let more = both(named(Raw, ""), dict([("all_modules.99.weight", Py::Tensor(vec![2], vec![0.0; 2]))]));
    assert!(refused(&dict([("model", more)])).contains("all_modules.99.weight"));
}

#[test]
fn values_of_other_types_are_opaque_and_run_no_code() {
    let beside = |code: &[u8]| {
        dict([
            ("model", named(Raw, "")),
            ("ema", named(Averages, "")),
            ("beside", Py::Code(code.to_vec())),
            ("step", Py::Int(5)),
        ])
    };
    for code in [
        &b"ctorch\nSize\nK\x01K\x08\x86\x85R"[..],
        b"ctorch\nfloat32\n",
        b"ctorch\ndevice\nX\x03\x00\x00\x00cpu\x85R",
        b"cargparse\nNamespace\n)\x81}X\x01\x00\x00\x00aK\x01sb",
        b"c__builtin__\nset\n](K\x01e\x85R",
        b"c__builtin__\ncomplex\nG\x00\x00\x00\x00\x00\x00\x00\x00G\x00\x00\x00\x00\x00\x00\x00\x00\x86R",
        b"cos\nsystem\nX\x04\x00\x00\x00true\x85R",
        b"\x8a\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
        b"\x8b\x80\x00\x00\x00\
          0123456789012345678901234567890123456789012345678901234567890123\
          0123456789012345678901234567890123456789012345678901234567890123",
        b"ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R",
        b"cpathlib\nPosixPath\nX\x01\x00\x00\x00/\x85R",
    ] {
        whole(&String::from_utf8_lossy(code), &beside(code));
        assert_eq!(read(&beside(code)).expect("a state").state.step, 5);
    }
    // A network as an object, alone and in a dictionary.
    let object = || Py::Code(b"cmodels.ncsnpp\nNCSNpp\n)\x81}b".to_vec());
    assert!(matches!(read(&object()), Err(InteropError::Foreign(Foreign::Module))));
    let message = refused(&dict([("model", object()), ("step", Py::Int(5))]));
    assert!(message.contains("state_dict()") && message.contains("model"), "{message}");
}

#[test]
fn steps_of_every_kind_and_views_and_types_of_every_kind_are_read() {
    let at =
        |key: &str, step: Py| dict([("model", named(Raw, "")), ("ema", named(Averages, "")), (key, step)]);
    let numpy = b"cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00i8\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xff\
        J\xff\xff\xff\xffK\x00tbc_codecs\nencode\nX\x08\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00X\x06\x00\x00\x00latin1\x86R\x86R";
    for (key, step) in [
        ("step", Py::Int(7)),
        ("step", Py::Float(7.0)),
        ("step", Py::Code(numpy.to_vec())),
        ("step", Py::Tensor(vec![], vec![7.0])),
        ("global_step", Py::Int(7)),
        ("iteration", Py::Int(7)),
    ] {
        assert_eq!(read(&at(key, step)).expect("a state").state.step, 7, "{key}");
    }
    for step in [Py::Float(7.5), Py::Float(-1.0), Py::Float(f64::NAN), Py::Text("seven")] {
        assert!(refused(&at("step", step)).contains("`step`"));
    }

    // One tensor of the network as a view: expanded, transposed, or a slice; or of another type.
    let (_, registry, state) = small();
    let number =
        registry.trainable.iter().position(|spec| spec.layout.file_shape().len() == 2).expect("a matrix");
    let name = registry.trainable[number].name.clone();
    let shape = registry.trainable[number].layout.file_shape();
    let (rows, columns) = (shape[0], shape[1]);
    let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let with = |kind: &'static str, bytes: Vec<u8>, len: usize, offset: usize, stride: [usize; 2]| {
        let view = Py::View { kind, bytes, len, offset, shape: vec![rows, columns], stride: stride.to_vec() };
        let mut pairs = pairs(named(Raw, ""));
        pairs.iter_mut().filter(|(own, _)| *own == name).for_each(|(_, value)| *value = view.clone());
        read(&Py::Dict(pairs)).map(|read| read.state.raw[number].clone())
    };
    let values = &state.raw[number];
    let expanded = with("Float", floats(&[0.25]), 1, 0, [0, 0]).expect("an expanded tensor");
    assert!(expanded.iter().all(|v| *v == 0.25) && expanded.len() == rows * columns);
    let row = with("Float", floats(&values[..columns]), columns, 0, [0, 1]).expect("rows");
    assert!(row.chunks(columns).all(|row| *row == values[..columns]));
    // The last column but one of a wider matrix of a hundred columns a number.
    let wide: Vec<f32> = values.iter().flat_map(|v| [vec![9.0; 98], vec![*v, 9.0]].concat()).collect();
    let slice = with("Float", floats(&wide), wide.len(), 98, [100 * columns, 100]).expect("a slice");
    assert_eq!(slice, *values);
    assert!(with("Float", floats(&wide), wide.len(), 199, [100 * columns, 100]).is_err());
    let double = values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
    assert_eq!(with("Double", double, values.len(), 0, [columns, 1]).expect("float64"), *values);
    let half: Vec<half::f16> = values.iter().map(|v| half::f16::from_f32(*v)).collect();
    let read = with("Half", half.iter().flat_map(|v| v.to_le_bytes()).collect(), half.len(), 0, [columns, 1]);
    assert!(read.expect("float16").iter().zip(&half).all(|(a, b)| *a == b.to_f32()));
    let brain: Vec<half::bf16> = values.iter().map(|v| half::bf16::from_f32(*v)).collect();
    let read =
        with("BFloat16", brain.iter().flat_map(|v| v.to_le_bytes()).collect(), brain.len(), 0, [columns, 1]);
    assert!(read.expect("bfloat16").iter().zip(&brain).all(|(a, b)| *a == b.to_f32()));
    for (kind, size) in [("Int", 4), ("Long", 8), ("ComplexFloat", 8), ("QInt8", 1)] {
        let message = with(kind, vec![0; size * values.len()], values.len(), 0, [columns, 1])
            .expect_err("integers")
            .to_string();
        assert!(message.contains(&name) && message.contains("only floating-point"), "{message}");
    }
}

#[test]
fn moments_are_adams_or_begin_at_zero() {
    let (_, registry, _) = small();
    let optimiser = |entry: &dyn Fn(usize) -> Py, first: usize, params: usize| {
        let state = registry.trainable.iter().enumerate().map(|(i, _)| (i, entry(i)));
        let mut code = b"}(".to_vec();
        let mut p = Pickler::default();
        for (i, value) in state {
            p.int(first + i);
            let inner = Pickler::of(&value);
            assert!(inner.storages.is_empty());
            p.pickle.extend(&inner.pickle[2..inner.pickle.len() - 1]);
        }
        code.extend(p.pickle);
        code.push(b'u');
        let groups = Py::List(vec![dict([("params", Py::List((0..params as i32).map(Py::Int).collect()))])]);
        dict([("state", Py::Code(code)), ("param_groups", groups)])
    };
    let sgd = optimiser(&|_| dict([("momentum_buffer", Py::None)]), 0, registry.trainable.len());
    for key in ["optimizer", "opt", "optimizer_state_dict"] {
        let value = dict([("model", named(Raw, "")), ("ema", named(Averages, "")), (key, sgd.clone())]);
        let Imported { state, notes } = read(&value).expect("a state");
        assert!(state.moments.is_none() && state.updates == 0);
        assert_eq!(notes, [Note::OtherOptimiser]);
    }
    let adam =
        optimiser(&|_| dict([("exp_avg", Py::None), ("step", Py::Int(5))]), 0, registry.trainable.len());
    let message = refused(&dict([("model", named(Raw, "")), ("optimizer", adam)]));
    assert!(message.contains("exp_avg"), "{message}");
}

#[test]
fn a_small_file_of_endless_nesting_is_refused_at_once() {
    // Lists of twice the list before, forty deep, and a list in itself.
    let mut p = b"\x80\x02]q\x00".to_vec();
    for i in 1..40u8 {
        p.extend([b']', b'q', i, b'(', b'h', i - 1, b'h', i - 1, b'e']);
    }
    p.push(b'.');
    let nested = Pickler { pickle: p, storages: Vec::new() };
    assert!(read_score_sde_from(Cursor::new(nested.archive()), &small().1).is_err());
    let own = Pickler { pickle: b"\x80\x02]q\x00h\x00a.".to_vec(), storages: Vec::new() };
    assert!(read_score_sde_from(Cursor::new(own.archive()), &small().1).is_err());
}

#[test]
fn safetensors_follow_the_same_rules() {
    use safetensors::tensor::{Dtype, TensorView};
    let (_, registry, state) = small();
    let bytes = |parts: &[(&str, &[Vec<f32>], usize)]| {
        let specs = || registry.trainable.iter();
        let data: Vec<(String, Vec<usize>, Vec<u8>)> = parts
            .iter()
            .flat_map(|(prefix, values, count)| {
                specs().zip(*values).take(*count).map(move |(spec, values)| {
                    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                    (format!("{prefix}{}", spec.name), spec.layout.file_shape(), bytes)
                })
            })
            .chain(registry.frozen.iter().zip(&state.frozen).map(|(spec, values)| {
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                (format!("fixed/{}", spec.name), spec.layout.file_shape(), bytes)
            }))
            .collect();
        let views = data.iter().map(|(name, shape, bytes)| {
            (&name[..], TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a view"))
        });
        safetensors::serialize(views, None).expect("a file")
    };
    let all = registry.trainable.len();
    let read = |bytes: &[u8]| read_safetensors_bytes(bytes, &registry);
    for (raw, ema) in [("raw/", "ema/"), ("", "ema."), ("_orig_mod.module.", "model_ema.")] {
        let Imported { state: found, notes } =
            read(&bytes(&[(raw, &state.raw, all), (ema, &state.ema, all)]))
                .unwrap_or_else(|e| panic!("{raw}: {e}"));
        assert!(found.raw == state.raw && found.ema == state.ema && notes.is_empty(), "{raw}");
    }
    let one = read(&bytes(&[("model.", &state.raw, all)])).expect("raw weights");
    assert!(one.state.ema == state.raw && one.notes == [Note::NoAverages]);
    let message = read(&bytes(&[("raw/", &state.raw, all), ("ema/", &state.ema, all - 1)]))
        .expect_err("a part")
        .to_string();
    assert!(message.contains("the averages at ema lack"), "{message}");
}

#[test]
fn files_of_other_programs_are_named_and_sample_names_convert() {
    let (config, registry, _) = small();
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("config.toml"), config.to_toml()).expect("a file");
    let tensor = || Py::Tensor(vec![2], vec![0.0; 2]);
    let torch = |value: &Py| Pickler::of(value).archive();
    let edm = b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}\x8c\x03ema\x8c\x17torch_utils.persistence\x8c\x1b_reconstruct_persistent_obj\x93}\x85Rs.";
    for (name, bytes, expected) in [
        ("page.pth", b"<!DOCTYPE html><html></html>".to_vec(), "web page"),
        (
            "pointer.pt",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n".to_vec(),
            "git lfs pull",
        ),
        ("checkpoint_8", b"\x83\xa9optimizer\x82\xa6target".to_vec(), "Flax"),
        ("flax.pth", b"\x83\xa9optimizer\x82\xa6target".to_vec(), "Flax"),
        ("edm.pkl", edm.to_vec(), "EDM"),
        ("edm.pth", edm.to_vec(), "EDM"),
        ("plain.pkl", b"\x80\x03}.".to_vec(), "runs code"),
        ("empty.pth", Vec::new(), "empty"),
        (
            "k.pth",
            torch(&dict([
                ("model", dict([("inner_model.proj_in.weight", tensor())])),
                ("gns_stats", Py::None),
            ])),
            "k-diffusion",
        ),
        (
            "ema_0.9999_010000.pt",
            torch(&dict([("time_embed.0.weight", tensor()), ("input_blocks.0.0.weight", tensor())])),
            "guided-diffusion",
        ),
        (
            "model-1.pt",
            torch(&dict([("step", Py::Int(7)), ("model", dict([("model.init_conv.weight", tensor())]))])),
            "lucidrains",
        ),
        (
            "sd.ckpt",
            torch(&dict([(
                "state_dict",
                dict([("model.diffusion_model.input_blocks.0.0.weight", tensor())]),
            )])),
            "Stable Diffusion",
        ),
        ("unet.bin", torch(&dict([("down_blocks.0.resnets.0.norm1.weight", tensor())])), "config.json"),
        ("page.safetensors", b"<html>".to_vec(), "web page"),
    ] {
        std::fs::write(at(name), bytes).expect("a file");
        for set in [&["--config"][..], &[]] {
            let mut command = tweedie();
            command.arg("convert").arg(at(name)).arg(at("run")).args(set);
            if !set.is_empty() {
                command.arg(at("config.toml"));
            }
            let message = refuse(&mut command);
            assert!(
                message.contains(expected) && !message.contains("does the configuration"),
                "{name}: {message}"
            );
        }
        let message = refuse(tweedie().arg("sample").arg(at(name)).arg("--out").arg(at("x.png")));
        assert!(message.contains(expected), "{name}: {message}");
    }
    let archive = torch(&dict([("model", named(Raw, ""))]));
    std::fs::write(at("UPPER.PTH"), &archive).expect("a file");
    let message = refuse(tweedie().arg("sample").arg(at("UPPER.PTH")).arg("--out").arg(at("x.png")));
    assert!(message.contains("tweedie convert"), "{message}");
    // The ending is of no importance, and one line says that there are no averages.
    for name in ["UPPER.PTH", "checkpoint", "weights.model"] {
        std::fs::write(at(name), &archive).expect("a file");
        let out = at(&format!("run-{name}"));
        let mut command = tweedie();
        command.arg("convert").arg(at(name)).arg(&out).arg("--config").arg(at("config.toml"));
        let output = command.output().expect("the program starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("no moving averages"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        succeed(
            tweedie().arg("convert").arg(&out).arg(at(&format!("out-{name}"))).args(["--to", "safetensors"]),
        );
    }
    assert!(!registry.trainable.is_empty());
}

#[test]
fn hugging_faces_folders_hold_old_files_too() {
    let (config, registry, state) = tiny_with(&["model.ch_mult=[1]", "model.attn_resolutions=[]"]);
    let folder = folder();
    let home = folder.path().join("model");
    tweedie::interop::write_diffusers(&home, &config, &state).expect("a model");
    let weights = home.join("unet/diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(&weights).expect("a file");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("weights");
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let values =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        (name, Py::Tensor(view.shape().to_vec(), values))
    });
    let value = Py::Dict(tensors.collect());
    std::fs::remove_file(&weights).expect("a file");
    for bytes in [Pickler::of(&value).archive(), Pickler::of(&value).legacy()] {
        std::fs::write(home.join("unet/diffusion_pytorch_model.bin"), bytes).expect("a file");
        let (_, read) = tweedie::interop::read_diffusers(&home, &[]).expect("a model");
        let read = read.state;
        assert!(read.raw == state.ema && read.frozen.len() == registry.frozen.len());
    }
}
