"""What the pages of reports look like, and the little that they do."""

COLORS = {
    # in the charts: (variable, in the dark)
    "#2b2f33": ("ink", "#e3e6e8"),
    "#d4d8dc": ("grid", "#3a4046"),
    "#ffffff": ("paper", "#1c2024"),
    "#e4e7ea": ("idle", "#3b4248"),
    "#8a9198": ("faint", "#8f979e"),
    "#0072b2": ("c0", "#3fa4e0"),
    "#d55e00": ("c1", "#f0813a"),
    "#009e73": ("c2", "#28c79a"),
    "#cc79a7": ("c3", "#e39cc3"),
    "#e69f00": ("c4", "#f2b632"),
    "#56b4e9": ("c5", "#8fd0f7"),
    "#000000": ("c6", "#ffffff"),
}
"""Colors of the charts, and what takes their place: on a dark page the same hues, lighter."""

_LIGHT = "".join(f"--{name}:{color};" for color, (name, _) in COLORS.items())
_DARK = "".join(f"--{name}:{dark};" for name, dark in COLORS.values())
_LIGHT += "--page:#f6f7f8;--text:#1f2327;--muted:#59626a;--line:#dde1e4;--link:#00609a;--good:#00694d;--bad:#a84300;"
_DARK += "--page:#14171a;--text:#e3e6e8;--muted:#a2abb3;--line:#343a40;--link:#6dbcf0;--good:#3fd1a5;--bad:#f79a5f;"

STYLE = (
    ":root{color-scheme:light;"
    + _LIGHT
    + "}\n@media (prefers-color-scheme:dark){:root:not([data-theme=light]){color-scheme:dark;"
    + _DARK
    + "}}\n:root[data-theme=dark]{color-scheme:dark;"
    + _DARK
    + "}\n"
    + """
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:3.2rem}
body{margin:0;background:var(--page);color:var(--text);font:15.5px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
 "Helvetica Neue",Arial,sans-serif}
main,header>div,nav>div{max-width:1120px;margin:0 auto;padding:0 24px}
header{padding:34px 0 20px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .5rem;letter-spacing:-.01em}
h2{font-size:1.28rem;margin:2.6rem 0 .8rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}
h3{font-size:1.02rem;margin:1.9rem 0 .5rem}
p{margin:.5rem 0;max-width:78ch}
a{color:var(--link)}
code,kbd,.cmd{font:.87em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.lead{font-size:1.08rem;color:var(--text)}
.muted,figcaption,.meta{color:var(--muted);font-size:.88rem}
nav{position:sticky;top:0;background:var(--paper);border-block:1px solid var(--line);z-index:2}
nav>div{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;align-items:center;padding-block:.45rem;font-size:.9rem}
nav a{text-decoration:none}nav a:hover{text-decoration:underline}
nav button{margin-left:auto}
button{font:inherit;color:inherit;background:none;border:1px solid var(--line);border-radius:6px;padding:.12rem .6rem;
 cursor:pointer}
button:hover{border-color:var(--muted)}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-999px}.skip:focus{left:8px;top:8px;background:var(--paper);padding:.4rem;z-index:3}
.verdicts{list-style:none;margin:1rem 0;padding:0;display:grid;gap:.6rem;
 grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}
.verdicts li{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:.6rem .9rem}
.verdicts p{margin:.1rem 0;max-width:none}
.tag{font-size:.78rem;font-weight:600;border:1px solid currentColor;border-radius:4px;padding:0 .35rem;
 white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}.unsure{color:var(--muted)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:.7rem;margin:1rem 0}
.card{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:.6rem .9rem}
.card b{display:block;font-size:1.3rem;font-variant-numeric:tabular-nums;line-height:1.3}
.card span{color:var(--muted);font-size:.85rem}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:14px}
figure{margin:.6rem 0;background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:12px 14px;
 min-width:0}
.pair figure{margin:0}
figure svg{display:block;width:100%;height:auto;max-width:var(--wide,900px);margin:0 auto}
figcaption{margin-top:.5rem}figcaption b{color:var(--text)}
.files{display:block;margin-top:.15rem}
.scroll{overflow-x:auto;background:var(--paper);border:1px solid var(--line);border-radius:8px;margin:.6rem 0}
details .scroll{border:0;margin:.3rem 0 0}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{padding:.34rem .65rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
tr:last-child>*{border-bottom:0}
thead th{border-bottom:1.5px solid var(--muted);white-space:nowrap;vertical-align:bottom}
td.n,th.n{text-align:right;white-space:nowrap}
td.best{font-weight:650}
.scroll tr>:first-child{position:sticky;left:0;background:var(--paper)}td>code+.muted{min-width:min(13rem,38vw)}
th button{border:0;padding:0;font-weight:600;text-align:inherit}
th button::after{content:" \\2195";opacity:.35}
th[aria-sort=ascending] button::after{content:" \\2191";opacity:1}
th[aria-sort=descending] button::after{content:" \\2193";opacity:1}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.2rem;margin:.6rem 0}
dt{color:var(--muted)}dd{margin:0;overflow-wrap:anywhere}
details{margin:.45rem 0;font-size:.95em}summary{cursor:pointer;color:var(--link)}
.cmd{display:flex;gap:.8rem;align-items:start;justify-content:space-between;background:var(--paper);
 border:1px solid var(--line);border-radius:8px;padding:.55rem .8rem;margin:.5rem 0;white-space:pre-wrap}
.cmd button{font:.8rem system-ui,sans-serif;flex:none}
.warn{border-left:4px solid var(--c1);background:var(--paper);padding:.5rem .9rem;margin:.8rem 0}
footer{max-width:1120px;margin:3rem auto 2rem;padding:0 24px;color:var(--muted);font-size:.85rem}
@media (max-width:640px){dl{grid-template-columns:1fr}dt{margin-top:.4rem}main,header>div,nav>div{padding-inline:14px}}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@page{margin:13mm}
@media print{
 :root,:root[data-theme]{color-scheme:light;LIGHT--page:#fff}
 body{font-size:9.5pt;background:#fff}
 nav,.skip,button.copy,details:not([open]){display:none!important}
 header{padding:0 0 8pt}main,header>div,footer{max-width:none;padding:0}
 h2{margin-top:16pt}h2,h3,h2+p{break-after:avoid}h3{margin-top:10pt}
 figcaption,td .muted,.muted,.meta{font-size:7.5pt}dl,ul{font-size:8.5pt}
 figure{padding:6pt 8pt}figure svg{max-width:min(var(--wide,900px),520px)}
 figure,.verdicts li,.card,tr{break-inside:avoid}.verdicts{grid-template-columns:1fr 1fr;font-size:8.5pt}
 figure,.scroll,.card,.verdicts li,.cmd{border-color:#ccc}
 .scroll{overflow:visible}table{font-size:8pt}th,td{padding:2pt 5pt;white-space:normal!important}
 .scroll tr>:first-child{position:static}td>code+.muted{min-width:0}
 th button::after{content:none}
 .pair{grid-template-columns:1fr 1fr}.cards{grid-template-columns:repeat(4,1fr)}
 *{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
""".replace("LIGHT", _LIGHT)
)

EARLY = "try{var t=localStorage.getItem('kvscope-theme');if(t)document.documentElement.dataset.theme=t}catch(e){}"
"""Before anything is drawn, so that a chosen theme does not flicker."""

SCRIPT = """
(function(){
var root=document.documentElement, toggle=document.getElementById('theme');
function dark(){var t=root.dataset.theme;return t?t==='dark':matchMedia('(prefers-color-scheme: dark)').matches}
function label(){toggle.textContent=dark()?'Light':'Dark';toggle.setAttribute('aria-pressed',dark())}
toggle.hidden=false;label();
toggle.addEventListener('click',function(){root.dataset.theme=dark()?'light':'dark';
 try{localStorage.setItem('kvscope-theme',root.dataset.theme)}catch(e){}label()});
document.querySelectorAll('table.sortable').forEach(function(table){
 table.querySelectorAll('thead th').forEach(function(th,column){
  var button=document.createElement('button');button.type='button';
  while(th.firstChild)button.appendChild(th.firstChild);
  th.appendChild(button);
  button.addEventListener('click',function(){
   var up=th.getAttribute('aria-sort')!=='ascending', body=table.tBodies[0];
   table.querySelectorAll('thead th').forEach(function(o){o.removeAttribute('aria-sort')});
   th.setAttribute('aria-sort',up?'ascending':'descending');
   function key(row){var c=row.cells[column],v=c.dataset.v;return v===undefined?c.textContent.trim():v===''?null:+v}
   Array.from(body.rows).map(function(row,i){return{row:row,key:key(row),i:i}}).sort(function(a,b){
    if(a.key===null||b.key===null)return(a.key===null)-(b.key===null)||a.i-b.i;
    var d=typeof a.key==='number'&&typeof b.key==='number'?a.key-b.key:String(a.key).localeCompare(String(b.key));
    return(up?d:-d)||a.i-b.i}).forEach(function(e){body.appendChild(e.row)})})})});
if(navigator.clipboard)document.querySelectorAll('.cmd').forEach(function(box){
 var button=document.createElement('button');button.type='button';button.className='copy';button.textContent='Copy';
 box.appendChild(button);
 button.addEventListener('click',function(){navigator.clipboard.writeText(box.querySelector('code').textContent)
  .then(function(){button.textContent='Copied';setTimeout(function(){button.textContent='Copy'},1500)},function(){
   button.textContent='Select it by hand'})})});
})();
"""
