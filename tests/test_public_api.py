# SPDX-License-Identifier: Apache-2.0
"""The public names, frozen: a change here is a change for users and belongs in CHANGELOG.md."""

import importlib
import pkgutil

import pytest

from fastgan import ops

NAMES = {
    "fastgan": """
        __version__ augment compat control data explore export hub load losses memory metrics models
        nn ops sample_rng training
    """,
    "fastgan.nn": """
        Acceleration AntiAliasedActivation Blur Downsample EqualConv2d EqualLinear FusedLeakyReLU
        LayerRow LogMel MappingNetwork MinibatchStddev ModulatedConv2d NoiseInjection PixelNorm
        SelfAttention SelfAttention2d Snake SnakeBeta Upsample accelerate mel_filters mix_styles
        sample_cutoff undo_accelerate
    """,
    "fastgan.explore": """
        PageServer RuntimeMissingError fetch_runtime install_runtime network_files runtime_files
    """,
    "fastgan.export": "to_aoti_package to_exported_program to_onnx",
    "fastgan.hub": "Pushed push_to_hub write_folder",
    "fastgan.losses": "Judged Judgement Objective load_objective objectives",
    "fastgan.models": "architectures load_architecture",
    "fastgan.models.vocoders": "load_vocoder vocoders",
    "fastgan.compat": "COPIES FAMILIES Family Patch patch",
    "fastgan.compat.weights": """
        Imported PickledModule PickledNetwork ReadWeights WeightsError export_weights import_weights
        read_weights
    """,
    "fastgan.control": """
        AVATAR_QUESTIONS Directions PerceptualDistance Projection Question SteerableGenerator edit
        factorize interpolate learn_directions load_ws mix nearest_of_samples parse_layers project
        read_attributes replace_layers save_ws video_frames
    """,
    "fastgan.data": """
        BatchLoader ImageDataset PackedDataset SampleLoader convert default_dataset open_images pack
    """,
    "fastgan.sample_rng": "integers normal normal_like sample_stream step_key uniform",
    "fastgan.memory": "Change Policy keep_freed_memory policy restore",
    "fastgan.metrics": "Evaluator MetricResult NAMES PartEvaluator available compute",
    "fastgan.modalities": "DataFacts Modality load_modality modalities",
    "fastgan.augment": "AdaController AugmentPipe BlurFade GROUPS",
    "fastgan.training": """
        Alarm AugmentConfig Batch CheckpointError DataConfig EmaConfig FaultPolicy Gpu
        HealthWarning InitConfig Memory Observer OptimizerConfig Prediction RunInfo RunLog
        ScheduleConfig Snapshot StepConfig TensorBoard Tick TrainConfig TrainState TrainStep
        TrainingDiverged WeightsAndBiases
        build_state create_state digest largest_batch_gpu load_generator load_recipe predict
        sample_grid sec_per_kimg start_from train train_step
    """,
}


@pytest.mark.parametrize("package", NAMES)
def test_public_names(package):
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(NAMES[package].split())
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_public_names_of_ops():
    """Each file lists its own, and `fastgan.ops` all of them: neither changes without the other."""
    modules = [module.name for module in pkgutil.walk_packages(ops.__path__, "fastgan.ops.")]
    listed = [getattr(importlib.import_module(name), "__all__", []) for name in modules]
    assert ops.__all__ == sorted(ops.__all__)
    assert ops.__all__ == sorted(name for names in listed for name in names)
    assert all(callable(getattr(ops, name)) for name in ops.__all__)
    without = [name for name in modules if not hasattr(importlib.import_module(name), "__all__")]
    assert all(name.rpartition(".")[2].startswith("_") for name in without)
