"""The public names, frozen: a change here is a change for users and belongs in CHANGELOG.md."""

import importlib

import pytest

NAMES = {
    "fastgan": """
        __version__ augment compat data export losses memory metrics models nn ops sample_rng
        training
    """,
    "fastgan.ops": """
        Conv2dChoice NativeRequiredError adam_ema_ anti_aliased_snake backends bias_act channel_dot
        conv2d conv2d_choice conv2d_resample conv_transpose2d conv_transpose2d_choice demodulation
        downsample2d filter2d filtered_lrelu gradient_penalty grouped_conv2d interpolate_samples
        kaiser_sinc_filter library_facts minibatch_stddev modulate modulated_conv2d noise_bias_act
        setup_filter upfirdn2d upsample2d use_backend use_winograd winograd_conv2d
        winograd_strided_conv2d winograd_strided_conv_transpose2d
    """,
    "fastgan.nn": """
        AntiAliasedActivation Blur Downsample EqualConv2d EqualLinear FusedLeakyReLU MappingNetwork
        MinibatchStddev ModulatedConv2d NoiseInjection PixelNorm Snake SnakeBeta Upsample mix_styles
        sample_cutoff
    """,
    "fastgan.export": "to_aoti_package to_exported_program to_onnx",
    "fastgan.losses": "load_objective objectives",
    "fastgan.models": "architectures load_architecture",
    "fastgan.models.vocoders": "load_vocoder vocoders",
    "fastgan.compat": "FAMILIES Family Patch patch",
    "fastgan.compat.weights": """
        Imported ReadWeights WeightsError export_weights import_weights read_weights
    """,
    "fastgan.data": """
        BatchLoader ImageDataset PackedDataset convert default_dataset open_images pack
    """,
    "fastgan.sample_rng": "integers normal normal_like sample_stream step_key uniform",
    "fastgan.memory": "Change Policy keep_freed_memory policy restore",
    "fastgan.metrics": "Evaluator MetricResult NAMES available compute",
    "fastgan.augment": "AdaController AugmentPipe GROUPS",
    "fastgan.training": """
        AdamConfig Alarm AugmentConfig Batch CheckpointError DataConfig EmaConfig FaultPolicy
        Observer RunInfo RunLog ScheduleConfig Snapshot StepConfig Tick TrainConfig TrainState
        TrainStep TrainingDiverged build_state create_state digest load_generator load_recipe
        sample_grid train train_step
    """,
}


@pytest.mark.parametrize("package", NAMES)
def test_public_names(package):
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(NAMES[package].split())
    for name in module.__all__:
        assert getattr(module, name) is not None
