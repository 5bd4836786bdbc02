"""The published tables that can be read, each with its commit and checksums."""

from __future__ import annotations

from importlib import import_module

from analysis.replicate.checks import Replication
from analysis.replicate.data import File, Folder, Source, Variant

CHINCHILLA = Source(
    "epoch-chinchilla",
    "epoch-research/analyzing-chinchilla",
    "92258837425e1b5f2851d624287f0120583a3d0e",
    (
        Variant(
            (
                File(
                    "svg_extracted_data.csv",
                    "193478df4e90f040016431996c45682659306840ecdadf83cfb9cd5ca0aa1b30",
                    "data/svg_extracted_data.csv",
                ),
            ),
            "points read off figure 4 of arXiv 2203.15556",
        ),
    ),
)
KYO_TAKANO = Source(
    "kyo-takano",
    "kyo-takano/chinchilla",
    "75e5858f6e7c5b60d1fab69f66258132347b060c",
    (
        Variant(
            (
                File(
                    "df.csv",
                    "2ed2c412c6b408cb26896b92c0721fe9afa6515726b0db78c33db37cbf2816f9",
                    "examples/llm/df.csv",
                ),
            ),
            "the example's table of runs",
        ),
    ),
)
PORIAN = Source(
    "porian",
    "formll/resolving-scaling-law-discrepancies",
    "0dc60d91b8a525858a3067fc9e4a46ff5374cc6f",
    (
        Variant(
            (
                File(
                    "isoflop_optima.csv", "ee04431f9123e61faea9ddb89143cff76ab7ae31c5e193f7ae302c6c24a3526d"
                ),
                File(
                    "isoflop_points.csv", "7751178388a21269e39fc43ab6fe76101c27ea4adf803843a25028597507448b"
                ),
                File(
                    "published_fits.csv", "d046823f3f53ce8a1ad19e8ed17af5b61e0c9930004d938d7693a8d6897d35a9"
                ),
            ),
            "three CSV files converted from the pickles of the source, which are never loaded",
        ),
    ),
)
MUENNIGHOFF = Source(
    "muennighoff",
    "huggingface/datablations",
    "13701315b163f1c54642b94ad237b2699187c3ee",
    (
        Variant(
            (File("fit_subset_182.csv", "ecb5be709baa44b47a4bac6ff7addd5ee464261608994f8984972e55b2117eba"),),
            "the notebook's table of 182 runs as CSV",
        ),
        Variant(
            (
                File(
                    "parametric_fit.ipynb",
                    "6c65d270e70c944a9ac90f5f1213a4584e1ff9d6d2781cd86900663f4ab17db9",
                    "utils/parametric_fit.ipynb",
                ),
            ),
            "the notebook that prints the table",
        ),
    ),
)
GADRE = Source(
    "gadre",
    "mlfoundations/scaling",
    "a003c4913793ac2ae7ef87b28ecb562955d026d5",
    (
        Variant(
            (File("models_104.csv", "2b1474cbb5183dab0ed9745bac79fced82e420979bea247b62ef6c13ea23e61b"),),
            "all models and evaluations in one CSV",
        ),
        Variant(
            (
                File(
                    "rpj-d=96_l=8_h=4-1.0.json",
                    "26a57687eeca30c6282a8b9e1d51b6e0e6558011c08a8b84e695aa33a74567ab",
                    "exp_data/models/rpj-d=96_l=8_h=4-1.0.json",
                ),
                File(
                    "evaluation_rpj-d=96_l=8_h=4-1.0_heavy.json",
                    "913f558fa989bc7bacc81666dd794e2b1f835ef15f30787114f5a7142c299e1b",
                    "exp_data/evals/evaluation_rpj-d=96_l=8_h=4-1.0_heavy.json",
                ),
                File(
                    "rpj-d=96_l=8_h=4-16.0.json",
                    "8b10ab3caf7bafef95b972fd3551a26807ac9d7824ab73eb5dcb8fdc60030a2b",
                    "exp_data/models/rpj-d=96_l=8_h=4-16.0.json",
                ),
                File(
                    "evaluation_rpj-d=96_l=8_h=4-16.0_heavy.json",
                    "a900f9f040a1844c5b3568af04f22b5ad6c82a4691407a1773e7001540269ade",
                    "exp_data/evals/evaluation_rpj-d=96_l=8_h=4-16.0_heavy.json",
                ),
                File(
                    "rpj-d=512_l=8_h=4-1.0.json",
                    "ce2d8bb874a2bea92eb307fe360a6f3ccda6de51ef14659a0ea6346408579481",
                    "exp_data/models/rpj-d=512_l=8_h=4-1.0.json",
                ),
                File(
                    "evaluation_rpj-d=512_l=8_h=4-1.0_heavy.json",
                    "4626735ceef8744c91097902f3c9fc63c4ab806a20878a876cd89ecdec25df7a",
                    "exp_data/evals/evaluation_rpj-d=512_l=8_h=4-1.0_heavy.json",
                ),
                File(
                    "rpj-d=576_l=24_h=8-1.0.json",
                    "ae44bcbd76ff41b9b25670577efd7f9548009bab45353f327d93e1b9ff6812b5",
                    "exp_data/models/rpj-d=576_l=24_h=8-1.0.json",
                ),
                File(
                    "evaluation_rpj-d=576_l=24_h=8-1.0_heavy.json",
                    "ff1f6b29041669eca1e7f8ee741b2fd4ea657b6d2d012bb63fe6af8a1fcb2c7c",
                    "exp_data/evals/evaluation_rpj-d=576_l=24_h=8-1.0_heavy.json",
                ),
                File(
                    "rpj-d=1024_l=24_h=8-1.0.json",
                    "36fd4755d70b7bc892dab97bbd90cd908b13aab15c1e1a78d8d6b07bb8f8e840",
                    "exp_data/models/rpj-d=1024_l=24_h=8-1.0.json",
                ),
                File(
                    "evaluation_rpj-d=1024_l=24_h=8-1.0_heavy.json",
                    "d457e978adc3b9c23a0b904c75d8a13b371e72a4cfa20e84e7749a04c32872d2",
                    "exp_data/evals/evaluation_rpj-d=1024_l=24_h=8-1.0_heavy.json",
                ),
                File(
                    "rpj-open_lm_1b-1.0.json",
                    "c3703ae56c0f00efa08ff2989bd1559ac7eae9cd3c6f5f2e724c756a07c5b7f6",
                    "exp_data/models/rpj-open_lm_1b-1.0.json",
                ),
                File(
                    "evaluation_rpj-open_lm_1b-1.0_heavy.json",
                    "1e93269d6e4b4886410df04ff41d9c940e87e1d708370ea9f0536a4d4255f04e",
                    "exp_data/evals/evaluation_rpj-open_lm_1b-1.0_heavy.json",
                ),
                File(
                    "rpj-open_lm_1b-32.0.json",
                    "fe055b9c29dd3ad5d491f05a594a846c8c4692e1eb82cec81aacb371701168b4",
                    "exp_data/models/rpj-open_lm_1b-32.0.json",
                ),
                File(
                    "evaluation_rpj-open_lm_1b-32.0_heavy.json",
                    "f195ffc908505011b6a6e5826cffacecbd2b3a6478d5b2cc470e0ca9b80175eb",
                    "exp_data/evals/evaluation_rpj-open_lm_1b-32.0_heavy.json",
                ),
                File(
                    "rpj-open_lm_7b-1.0.json",
                    "62f938a0be52065726bcd6af80446626204a2f3d1101f3ccc12271a8ae1a8a7c",
                    "exp_data/models/rpj-open_lm_7b-1.0.json",
                ),
                File(
                    "evaluation_rpj-open_lm_7b-1.0_heavy.json",
                    "98fcd35964314b4618a1d3f3dc63e8e330422af046025c96e23a6b367f316d91",
                    "exp_data/evals/evaluation_rpj-open_lm_7b-1.0_heavy.json",
                ),
            ),
            "models and evaluations of the eight RedPajama runs that are fitted or predicted",
        ),
    ),
)
_LADDER = "src/scripts/paper/data/ladder-runs"
OLMO = Source(
    "olmo",
    "allenai/OLMo-ladder",
    "67a3f440f787d020da35e3ca8eeae475fae754f5",
    (
        Variant(
            (
                File(
                    "ladder_runs_rc.csv", "3edd24d32530ea37fb07cd98348d561a2c1a4cbc997f70b8192f2284b0eacd83"
                ),
                File("chained_main.csv", "62984273d7e0a2f8068771e4f4578deb9dd451e5fc93a1647fffd489efab0572"),
            ),
            "the ladder's runs in one CSV, and the published predictions",
        ),
        Variant(
            (
                File(
                    "190M-1xC.csv",
                    "8ac0066547d5edec4d05d2b861a26c7faf591eef6971e11acba2450a45e69c27",
                    f"{_LADDER}/190M-1xC.csv",
                ),
                File(
                    "190M-2xC.csv",
                    "db90c75f8d031d0754e7108f1a8d16f372603e0c04d2cb00cca08cf272ecf86a",
                    f"{_LADDER}/190M-2xC.csv",
                ),
                File(
                    "190M-5xC.csv",
                    "aefe54fa03bd158d6da178b1eb2ece88cb0681bb32403845b6e544ae9e4e5dcf",
                    f"{_LADDER}/190M-5xC.csv",
                ),
                File(
                    "190M-10xC.csv",
                    "192b115c3f02b6503043280f8303c59f5b10897cd631f1b8ec6aea944d22faa6",
                    f"{_LADDER}/190M-10xC.csv",
                ),
                File(
                    "370M-1xC.csv",
                    "3597a61872596affbb61e83f36c7cc3fe43485c3ed30ba6d658064b57edcea07",
                    f"{_LADDER}/370M-1xC.csv",
                ),
                File(
                    "370M-2xC.csv",
                    "73c686e580ad0600ca12334bf22ab3dad3265583a948e3beaae5b79b9a20c137",
                    f"{_LADDER}/370M-2xC.csv",
                ),
                File(
                    "370M-5xC.csv",
                    "199905d322b0332b69f1d0a40de9be43e5eb3cf576fc1d3031578cdea09708fa",
                    f"{_LADDER}/370M-5xC.csv",
                ),
                File(
                    "370M-10xC.csv",
                    "3f25b4ec4035caeb71b787d165857667779dc3b92739c6379b8f8ce7079fcb58",
                    f"{_LADDER}/370M-10xC.csv",
                ),
                File(
                    "760M-1xC.csv",
                    "a830185275c91cc077379540ec91a71b4bea6f191ca99a8090c851be19e7956d",
                    f"{_LADDER}/760M-1xC.csv",
                ),
                File(
                    "760M-2xC.csv",
                    "8c1ad2bf7da390b9eed24af7b6eb12a6393cc077164d51b4e4740f7221f1193c",
                    f"{_LADDER}/760M-2xC.csv",
                ),
                File(
                    "760M-5xC.csv",
                    "9c08b58d2625f427253bbd2079bad3a90726a66486154dd4f82ef84560e275ec",
                    f"{_LADDER}/760M-5xC.csv",
                ),
                File(
                    "760M-10xC.csv",
                    "e256c9df6d3b7af66bbcf4dc7ca84b45a812bd205b70648ca5177c8b74f6ff40",
                    f"{_LADDER}/760M-10xC.csv",
                ),
                File(
                    "1B-1xC.csv",
                    "7fe91f0552829238e591e55c03f66b743ac5931388d9710457a845d92c2d9102",
                    f"{_LADDER}/1B-1xC.csv",
                ),
                File(
                    "1B-2xC.csv",
                    "34ba12a08a52e10e89a71d88a5c13538c3df21e5e993c476cadb08eb4b2eb354",
                    f"{_LADDER}/1B-2xC.csv",
                ),
                File(
                    "1B-5xC.csv",
                    "d195153f05b846f6d4f8ca95247d1f79d9d00e898d856b244b17e20431539ddb",
                    f"{_LADDER}/1B-5xC.csv",
                ),
                File(
                    "1B-10xC.csv",
                    "ec7e7487c67a774d9b919ec35121966ded7ae2ce5ede135f1d32f509f451476f",
                    f"{_LADDER}/1B-10xC.csv",
                ),
                File(
                    "peteish7_eval_anneal.csv",
                    "0742d6c113aa0f9c789cf9e5745678fc6f30eb9b873a1f98068fc6f6522c85df",
                    f"{_LADDER}/peteish7_eval_anneal.csv",
                ),
                File(
                    "peteish13_eval_final.csv",
                    "8cbdd4c2818b05ff30476a9bd4ecae620da89193ca61183bc2d61e111a9d0059",
                    f"{_LADDER}/peteish13_eval_final.csv",
                ),
                File(
                    "chained_main.csv",
                    "62984273d7e0a2f8068771e4f4578deb9dd451e5fc93a1647fffd489efab0572",
                    "src/scripts/paper/figures/chained_main.csv",
                ),
            ),
            "one CSV a run, and the published predictions",
        ),
    ),
)
SOURCES = {source.name: source for source in (CHINCHILLA, KYO_TAKANO, PORIAN, MUENNIGHOFF, GADRE, OLMO)}

# What `lab replicate` computes: name -> (module, source of its data or empty). The last two need none.
STUDIES = {
    "chinchilla": ("chinchilla", "epoch-chinchilla"),
    "porian": ("porian", "porian"),
    "muennighoff": ("muennighoff", "muennighoff"),
    "gadre": ("gadre", "gadre"),
    "olmo": ("olmo", "olmo"),
    "kyo-takano": ("kyo_takano", "kyo-takano"),
    "kaplan": ("kaplan", ""),
    "parabola": ("parabola", ""),
}


def computed(name: str, folder: Folder) -> Replication:
    """One of STUDIES, computed from the tables in the folder. Raises MissingError where these lack."""
    module, source = STUDIES[name]
    compute = import_module(f"analysis.replicate.{module}").replicate
    return compute(folder) if source else compute()
